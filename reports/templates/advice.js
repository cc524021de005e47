// The arithmetic of `advise` in advice.rs, and the words of its answer: a test compares both, so change both.
"use strict";
const labAdvice = (() => {
  const SERIAL = "serial";
  const MOST_WAITING = 64;
  const ORDER = [SERIAL, "thread", "rayon", "process"];
  const LANES = ["nested", "bytes", "shared"];

  // As Rust rounds: a tie goes to the even digit.
  const fixed = (value, digits) => {
    const [, head, tail] = /^(.*?)(5?0*)$/.exec(value.toFixed(60));
    const places = head.includes(".") ? head.length - head.indexOf(".") - 1 : -1;
    const isTie = tail.startsWith("5") && (digits === 0 ? places === 0 : places === digits);
    const isEven = isTie && "02468".includes(head.replace(".", "").at(-1));
    return isEven ? head.replace(/\.$/, "") : value.toFixed(digits);
  };
  const number = (value) => {
    if (!Number.isFinite(value)) { return "–"; }
    const size = Math.abs(value);
    if (size === 0) { return "0"; }
    return fixed(value, size < 0.9995 ? 3 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0);
  };
  const duration = (ns) => {
    if (!Number.isFinite(ns)) { return "–"; }
    if (ns >= 119.5e9) {
      const seconds = Math.round(ns / 1e9);
      if (seconds < 7200) { return `${Math.floor(seconds / 60)} min ${seconds % 60} s`; }
      const minutes = Math.floor((seconds + 30) / 60);
      return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
    }
    if (ns < 999.5) { return number(ns) + " ns"; }
    if (ns < 999.5e3) { return number(ns / 1e3) + " µs"; }
    return ns < 999.5e6 ? number(ns / 1e6) + " ms" : number(ns / 1e9) + " s";
  };
  const bytes = (size) => {
    if (size < 1024) { return size + " B"; }
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let value = size / 1024;
    let unit = 0;
    while (value >= 1023.5 && unit + 1 < units.length) { value /= 1024; unit += 1; }
    return number(value) + " " + units[unit];
  };
  const count = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");
  const times = (value) => Number.isFinite(value) ? (Math.abs(value) < 9.995 ? fixed(value, 2) : number(value)) + "x" : "–";
  const name = (executor, workers) =>
    executor === SERIAL ? SERIAL : `${executor} with ${workers} worker${workers === 1 ? "" : "s"}`;

  // A term is a word, or a word with a lane: {"byte_in": "nested"}.
  const key = (term) => typeof term === "string" ? term : Object.entries(term)[0].join(" ");
  const amount = (load, term, width) => {
    const [word, lane] = key(term).split(" ");
    const of = (each) => load.lane === lane ? load.tasks * each : 0;
    switch (word) {
      case "cold_start": return load.cold ? 1 : 0;
      case "batch": return 1;
      case "task": return load.tasks;
      case "work": return load.work_ns * Math.ceil(load.tasks / Math.max(width, 1)) * Math.max(width, 1) / Math.max(load.tasks, 1);
      case "lane": return of(load.bytes_in > 0 ? 1 : 0);
      case "lane_out": return of(load.bytes_out > 0 ? 1 : 0);
      case "byte_in": return of(load.bytes_in);
      case "byte_out": return of(load.bytes_out);
      default: throw new Error("a term that is not known: " + word);
    }
  };
  const coefficient = (fit, term) => {
    const fitted = fit.terms.find((other) => key(other.term) === term);
    return fitted ? fitted.estimate.median : 0;
  };
  const predict = (fit, load) => {
    const amounts = fit.terms.map((fitted) => amount(load, fitted.term, fit.width));
    const sum = (values) => values.reduce((total, value) => total + value, 0);
    const time = sum(fit.terms.map((fitted, index) => amounts[index] * fitted.estimate.median));
    const product = (row) => sum(row.map((value, index) => value * amounts[index]));
    const variance = sum(fit.covariance.map((row, index) => amounts[index] * product(row)));
    const rest = fit.spread * time;
    const error = Math.sqrt(3.84 * Math.max(variance, 0) + rest * rest);
    const n = fit.terms.length ? fit.terms[0].estimate.n : 0;
    return { median: time, low: Math.max(time - error, 0), high: time + error, confidence: 0.9, n };
  };
  const within = (fit) => {
    const held = fit.points.filter((point) => point.held_out);
    const near = held.filter((point) => Math.abs(point.measured_ns.median / point.predicted_ns - 1) <= 0.15);
    return [near.length, held.length];
  };
  const isPoor = (fit) => { const [near, all] = within(fit); return 10 * near < 9 * all; };

  const serialNs = (question) => question.tasks * question.task_ns;
  const choice = (fit, workers, question) => {
    const load = {
      tasks: question.tasks,
      work_ns: serialNs(question) * (1 - question.waits),
      lane: question.payload > 0 || question.result > 0 ? question.lane : null,
      bytes_in: question.payload,
      bytes_out: question.result,
      cold: question.cold,
    };
    const time = predict(fit, load);
    const more = workers / fit.workers - 1;
    let further = coefficient(fit, "cold_start") * amount(load, "cold_start", fit.width) * Math.max(more, 0);
    if (question.waits > 0) {
      const rounds = Math.ceil(question.tasks / Math.max(workers, 1)) * question.task_ns;
      const computing = coefficient(fit, "work") * amount(load, "work", fit.width);
      further += Math.max(rounds - computing, 0);
    }
    const moved = { ...time, median: time.median + further, low: time.low + further, high: time.high + further };
    const serial = serialNs(question);
    const speedUp = { ...moved, median: serial / moved.median, low: serial / moved.high, high: serial / Math.max(moved.low, 1) };
    const held = question.tasks * (question.payload + question.result);
    const memory = fit.memory_per_worker === null ? null : fit.memory_per_worker * workers + held;
    return { executor: fit.executor, workers, time_ns: moved, speed_up: speedUp, memory_bytes: memory };
  };
  const ofFit = (model, fit, question) => {
    const workers = [fit.workers];
    const most = Math.max(...model.fits.filter((other) => other.executor === fit.executor).map((other) => other.workers));
    if (question.waits > 0 && most === fit.workers) {
      const busy = fit.width / Math.max(1 - question.waits, 1 / MOST_WAITING);
      const wanted = Math.min(Math.round(busy), MOST_WAITING, question.tasks);
      if (wanted > fit.workers) { workers.push(wanted); }
    }
    return workers.map((each) => choice(fit, each, question));
  };
  const simplicity = (executor) => { const place = ORDER.indexOf(executor); return place < 0 ? ORDER.length : place; };
  const choose = (model, question) => {
    const exact = (value) => ({ median: value, low: value, high: value, confidence: 1, n: 0 });
    const choices = model.fits.flatMap((fit) => ofFit(model, fit, question))
      .filter((each) => !question.crashes || each.executor === "process");
    if (!choices.length) { return null; }
    if (!question.crashes) {
      const memory = question.payload + question.result;
      choices.push({ executor: SERIAL, workers: 1, time_ns: exact(serialNs(question)), speed_up: exact(1), memory_bytes: memory });
    }
    choices.sort((a, b) => a.time_ns.median - b.time_ns.median);
    const fastest = choices[0];
    const ties = choices.filter((each) =>
      each.time_ns.low <= fastest.time_ns.median && each.time_ns.median <= fastest.time_ns.high);
    const simplest = (a, b) => simplicity(a.executor) - simplicity(b.executor) || a.workers - b.workers;
    const best = ties.reduce((found, each) => found && simplest(found, each) <= 0 ? found : each, null) ?? fastest;
    return { best, choices };
  };

  const taskCost = (model, question, each) => {
    const fit = model.fits.find((other) => other.executor === each.executor && other.workers === each.workers);
    if (!fit) { return null; }
    const task = coefficient(fit, "task");
    if (question.payload === 0 && question.result === 0) { return task; }
    const of = (word) => coefficient(fit, `${word} ${question.lane}`);
    const bytesIn = question.payload > 0 ? of("lane") + of("byte_in") * question.payload : 0;
    return task + bytesIn + (question.result > 0 ? of("lane_out") + of("byte_out") * question.result : 0);
  };
  const because = (model, question, best, choices) => {
    if (question.crashes) { return "A task that crashes ends its process: with threads that is the whole program."; }
    const fastest = choices[0];
    let text = "It is the fastest by the model.";
    if (best !== fastest) {
      const first = name(fastest.executor, fastest.workers);
      text = `${first} is not faster beyond the model's uncertainty (${duration(fastest.time_ns.median)}), and this is simpler.`;
    }
    const other = best.executor === "process" ? "thread" : "process";
    const ratio = (rival) => rival.time_ns.median / best.time_ns.median;
    const rival = choices.find((each) => each.executor === other && Number.isFinite(ratio(each)));
    if (rival) {
      text += ` On ${name(rival.executor, rival.workers)} it would take ${times(ratio(rival))} the time`;
      const cost = taskCost(model, question, rival);
      if (cost !== null) {
        const own = taskCost(model, question, best);
        const against = own === null ? "" : `, against ${duration(own)} on ${name(best.executor, best.workers)}`;
        const size = question.payload > 0 || question.result > 0 ? " with its bytes" : "";
        text += `: there a task${size} costs ${duration(cost)} beyond its work${against}`;
      }
      text += ".";
    }
    return text;
  };

  const beyond = (model, question) => {
    const loads = model.fits.flatMap((fit) => fit.points).map((point) => point.load);
    const most = (value) => loads.map(value).reduce((a, b) => Math.max(a, b), 0);
    const found = [];
    const check = (value, limit, text) => { if (value > 10 * limit) { found.push(text); } };
    const longest = most((load) => load.work_ns / Math.max(load.tasks, 1));
    check(question.task_ns, 1000 * longest,
      `tasks of ${duration(question.task_ns)} are far longer than those that were measured (${duration(longest)})`);
    const tasks = most((load) => load.tasks);
    check(question.tasks, 1000 * tasks, `${question.tasks} tasks are far more than were measured (${tasks})`);
    const size = (what, value, limit) =>
      check(value, limit, `${what} of ${bytes(value)} are larger than those that were measured (${bytes(Math.floor(limit))})`);
    size("arguments", question.payload, most((load) => load.bytes_in));
    size("results", question.result, most((load) => load.bytes_out));
    return found;
  };
  const outside = (model, question) => {
    const found = beyond(model, question);
    if (question.waits > 0) {
      found.push("waiting was not measured: its overlap is computed, and so is the cost of workers beyond those measured");
    }
    return found;
  };
  const changes = (model, question, best) => {
    const found = [];
    const scan = (vary, tell) => {
      for (const direction of [2, 0.5]) {
        for (let step = 1; step <= 20; step += 1) {
          const other = vary(direction ** step);
          const answer = choose(model, other);
          if (answer && answer.best.executor !== best.executor && !outside(model, other).length) {
            found.push(`With ${tell(other)}: ${name(answer.best.executor, answer.best.workers)}.`);
            break;
          }
        }
      }
    };
    scan((factor) => ({ ...question, task_ns: question.task_ns * factor }), (other) => "tasks of " + duration(other.task_ns));
    scan((factor) => ({ ...question, tasks: Math.max(Math.floor(question.tasks * factor), 1) }),
      (other) => count(other.tasks) + " tasks");
    if (question.payload > 0) {
      scan((factor) => ({ ...question, payload: Math.floor(question.payload * factor) }),
        (other) => "arguments of " + bytes(other.payload));
    }
    if (!question.crashes && best.executor !== "process") {
      found.push("Where tasks may crash, leak or must be stopped: process.");
    }
    if (question.lane === LANES[0] && best.executor === "process" && Math.max(question.payload, question.result) >= 4096) {
      found.push("Bytes that are the whole argument, as a Vec<u8> or SharedBytes, cost less than nested ones.");
    }
    return found;
  };
  const poor = (model, choices) => model.fits
    .filter((fit) => isPoor(fit) && choices.some((each) => each.executor === fit.executor))
    .map((fit) => {
      const [near, all] = within(fit);
      return `${fit.executor} with ${fit.workers} workers: of the batches that the model has not seen it predicts ${near} of ${all} within 15%`;
    });
  const cannotTell = (model, question, best, choices, isPoorModel) => {
    const [first] = beyond(model, question);
    if (first) { return `${first}: measure the work itself, with \`lab sweep\``; }
    const isSlower = (each) => each.executor === SERIAL || each.time_ns.low > best.time_ns.median;
    const isDecided = best.executor === SERIAL ? choices.every(isSlower) : best.speed_up.low > 1;
    if (!isPoorModel || question.crashes || isDecided) { return null; }
    return "the cost model predicts poorly in this run, and its error is larger than the difference: repeat the run on an idle machine";
  };
  const code = (best) => {
    switch (best.executor) {
      case "thread": return `let pool = executor_core::ThreadPoolExecutor::new(${best.workers})?;`;
      case "process": return `let pool = executor_core::ProcessPoolExecutor::new(${best.workers})?;`;
      case "rayon": return `let pool = executor_core::RayonExecutor::builder().max_workers(${best.workers}).build()?;`;
      default: return "let pool = executor_core::SerialExecutor::new();";
    }
  };
  const advise = (model, question) => {
    const answer = choose(model, question);
    if (!answer) { return null; }
    const { best, choices } = answer;
    const found = poor(model, choices);
    return {
      question, best, because: because(model, question, best, choices), choices,
      changes: changes(model, question, best), outside: outside(model, question), poor: found,
      cannot_tell: cannotTell(model, question, best, choices, found.length > 0), code: code(best),
    };
  };
  return { advise, bytes, duration, name, serialNs, times };
})();
