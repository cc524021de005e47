// The calculator of the page: a question from its fields, and the answer of advice.js from the cost model in the page.
(() => {
  const form = document.getElementById("calculator");
  if (!form) { return; }
  const run = JSON.parse(document.getElementById("run-json").textContent);
  const answer = document.getElementById("answer");
  const field = (name) => form.elements.namedItem(name);
  const checked = (name, low, high) => {
    const value = field(name).value.trim() === "" ? NaN : Number(field(name).value);
    const isRight = value >= low && value <= high;
    field(name).setAttribute("aria-invalid", String(!isRight));
    return isRight ? value : NaN;
  };
  const question = () => ({
    task_ns: checked("task", 0, 1e6) * Number(field("task-unit").value),
    tasks: Math.floor(checked("tasks", 1, 1e9)),
    payload: Math.floor(checked("payload", 0, 1e6) * Number(field("payload-unit").value)),
    result: Math.floor(checked("result", 0, 1e6) * Number(field("result-unit").value)),
    lane: field("lane").value,
    waits: checked("waits", 0, 100) / 100,
    crashes: field("crashes").checked,
    cold: field("cold").checked,
  });
  const range = (estimate, show) =>
    estimate.n === 0 ? show(estimate.median) : `${show(estimate.median)} (${show(estimate.low)} to ${show(estimate.high)})`;
  const lines = (asked) => {
    if (Object.values(asked).some((value) => Number.isNaN(value))) { return [["Note", "A field has no number, or one out of its range."]]; }
    const found = labAdvice.advise(run.cost, asked);
    if (!found) { return [["Note", "The cost model has no executor for this."]]; }
    const { best } = found;
    const unfit = run.fitness && run.fitness.unfit.length ? "the machine was not fit to measure it" : null;
    const doubt = unfit ?? found.cannot_tell;
    const memory = best.memory_bytes === null ? "not measured" : labAdvice.bytes(best.memory_bytes);
    const take = labAdvice.name(best.executor, best.workers);
    return [
      ["Take", doubt ? `cannot tell: ${doubt}. The model leans to ${take}.` : take],
      ["Time", `${range(best.time_ns, labAdvice.duration)}; serial ${labAdvice.duration(labAdvice.serialNs(asked))}`],
      ["Gain", `${range(best.speed_up, labAdvice.times)} as fast as serial`],
      ["Memory", `${memory}, if all arguments and results are there at the same time`],
      ["Why", found.because],
      ...found.changes.map((change) => ["Changes", change]),
      ...found.outside.map((why) => ["Caution", `outside of what was measured: ${why}`]),
      ...found.poor.map((why) => ["Caution", `its figures are rough: ${why}`]),
      ["Code", found.code],
    ];
  };
  const show = () => {
    const parts = [];
    let last = null;
    for (const [word, text] of lines(question())) {
      if (word !== last) {
        const term = document.createElement("dt");
        term.textContent = word;
        parts.push(term);
      }
      last = word;
      const line = document.createElement("dd");
      line.className = word === "Code" ? "code" : word === "Caution" || text.startsWith("cannot tell") ? "care" : "";
      line.textContent = text;
      parts.push(line);
    }
    answer.replaceChildren(...parts);
  };
  form.addEventListener("input", show);
  form.addEventListener("submit", (event) => { event.preventDefault(); });
  show();
})();
