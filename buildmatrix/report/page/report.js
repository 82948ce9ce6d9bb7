"use strict";
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const kept = { get: () => { try { return localStorage.getItem("buildmatrix-theme"); } catch { return null; } },
                 set: (value) => { try { localStorage.setItem("buildmatrix-theme", value); } catch { /* file:// may forbid it */ } } };
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
  const show = () => button.setAttribute("aria-pressed", String(isDark()));
  if (["dark", "light"].includes(kept.get())) root.dataset.theme = kept.get();
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; kept.set(root.dataset.theme); show(); });
  dark.addEventListener("change", show);
  show();

  const open = (id) => {
    const target = id && document.getElementById(id);
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    const holder = target.tagName === "SUMMARY" ? target : target.closest("details")?.querySelector("summary");
    const focus = target.matches("a, summary") ? target : holder;
    if (focus) { focus.focus({ preventScroll: true }); focus.scrollIntoView({ block: "center" }); }
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (!link) return;
    const id = decodeURIComponent(link.hash.slice(1));
    if (!/^[agm]-/.test(id)) return;
    event.preventDefault();
    history.replaceState(null, "", link.hash);
    open(id);
  });
  addEventListener("hashchange", () => open(decodeURIComponent(location.hash.slice(1))));
  if (location.hash) open(decodeURIComponent(location.hash.slice(1)));

  const rows = [...document.querySelectorAll("table.grid tbody tr")].map((row) => [...row.querySelectorAll("a")]);
  const all = rows.flat();
  const enter = (link) => { for (const other of all) other.tabIndex = other === link ? 0 : -1; };
  if (all.length) enter(all[0]);
  const move = (row, column) => {
    const line = rows[Math.max(0, Math.min(row, rows.length - 1))];
    line[Math.max(0, Math.min(column, line.length - 1))].focus();
  };
  for (const [row, line] of rows.entries()) for (const [column, link] of line.entries()) {
    link.addEventListener("focus", () => enter(link));
    link.addEventListener("keydown", (event) => {
      const last = line.length - 1;
      const steps = { ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1], ArrowDown: [row + 1, column],
                      ArrowUp: [row - 1, column], Home: [event.ctrlKey ? 0 : row, 0],
                      End: [event.ctrlKey ? rows.length - 1 : row, last] };
      const step = steps[event.key];
      if (!step || event.altKey || event.metaKey) return;
      event.preventDefault();
      move(...step);
    });
  }
})();
