(() => {
  "use strict";
  const form = document.getElementById("filter");
  const groups = [...document.querySelectorAll(".group")];
  if (form) {
    const rows = [...document.querySelectorAll(".finding")].map((row) => ({
      row, text: row.textContent.toLowerCase(), severity: row.dataset.severity, agent: row.dataset.agent,
    }));
    const open = groups.map((group) => group.open);
    const shown = document.getElementById("shown");
    let searched = false;
    const apply = () => {
      const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
      const agent = form.elements.agent ? form.elements.agent.value : "";
      const severities = new Set([...form.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.value));
      let count = 0;
      for (const { row, text, severity, agent: by } of rows) {
        const fits = severities.has(severity) && (!agent || agent === by) && words.every((word) => text.includes(word));
        row.hidden = !fits;
        if (fits) count += 1;
      }
      const searches = words.length > 0 || agent !== "";
      groups.forEach((group, n) => {
        const hits = group.querySelector(".finding:not([hidden])") !== null;
        group.hidden = !hits;
        if (searches) group.open = hits;
        else if (searched) group.open = open[n];
      });
      searched = searches;
      shown.textContent = count === rows.length ? "" : `${count} of ${rows.length} shown`;
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest && event.target.closest("input, select, textarea");
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
        event.preventDefault();
        form.elements.words.focus();
      } else if (event.key === "Escape" && event.target === form.elements.words) {
        form.elements.words.value = "";
        apply();
      }
    });
    apply();
  }
  const reveal = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
})();
