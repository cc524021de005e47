// The page can be read without this script. It adds the theme button, copying, downloads and printing of tables.
"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const themes = ["system", "light", "dark"];
  const remember = (name) => { try { localStorage.setItem("theme", name); } catch { /* not allowed here: forget it */ } };
  const remembered = () => { try { return localStorage.getItem("theme"); } catch { return null; } };

  const setTheme = (name) => {
    if (name === "system") { root.removeAttribute("data-theme"); } else { root.dataset.theme = name; }
    byId("theme").textContent = "Theme: " + name;
  };
  const current = () => root.dataset.theme || "system";
  // `index.html#theme=dark` is for screenshots and printing; it is not remembered.
  const asked = /^#theme=(light|dark)$/.exec(location.hash);
  const stored = remembered();
  setTheme(asked ? asked[1] : themes.includes(stored) ? stored : "system");
  byId("theme").addEventListener("click", () => {
    const next = themes[(themes.indexOf(current()) + 1) % themes.length];
    setTheme(next);
    remember(next);
  });

  const say = (text) => { byId("status").textContent = text; };
  byId("copy").addEventListener("click", async () => {
    const command = byId("command");
    try {
      await navigator.clipboard.writeText(command.textContent);
      say("Copied.");
    } catch {
      const range = document.createRange();
      range.selectNodeContents(command);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      say("The command is selected; copy it with the keyboard.");
    }
  });

  const runText = () => byId("run-json").textContent;
  const download = (name, type, text) => {
    const url = URL.createObjectURL(new Blob([text], { type }));
    const link = document.createElement("a");
    link.href = url;
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
    say("Saved as " + name + ".");
  };
  const stem = () => JSON.parse(runText()).id.replace(/[^A-Za-z0-9._-]+/g, "-");
  byId("get-csv").addEventListener("click", () => {
    download(stem() + ".csv", "text/csv;charset=utf-8", JSON.parse(byId("samples-csv").textContent));
  });
  byId("get-json").addEventListener("click", () => {
    download(stem() + ".json", "application/json", runText());
  });

  // On paper nothing can be opened, so everything is. Afterwards the page is as it was.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => { closed.forEach((details) => { details.open = false; }); });

  document.querySelectorAll(".needs-script").forEach((element) => { element.hidden = false; });
  root.dataset.ready = "yes";
})();
