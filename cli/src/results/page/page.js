"use strict";
// Shows the facts of a row below its picture, for pointers and keyboards.
for (const figure of document.querySelectorAll("figure.timeline")) {
  const facts = figure.querySelector(".facts");
  const lanes = [...figure.querySelectorAll("svg > .lane")];
  const show = (lane) => { facts.textContent = lane.getAttribute("aria-label"); };
  const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -Infinity, End: Infinity };
  lanes.forEach((lane, row) => {
    lane.addEventListener("pointerenter", () => show(lane));
    lane.addEventListener("focus", () => show(lane));
    lane.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (step === undefined || event.ctrlKey || event.altKey || event.metaKey) { return; }
      const next = lanes[Math.min(Math.max(row + step, 0), lanes.length - 1)];
      lane.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
      event.preventDefault();
    });
  });
}
// A link into a scenario opens it; paper shows all of them.
const open = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target instanceof HTMLDetailsElement) { target.open = true; target.scrollIntoView(); }
};
addEventListener("hashchange", open);
document.querySelectorAll("a[href^='#']").forEach((link) => link.addEventListener("click", () => setTimeout(open)));
open();
addEventListener("beforeprint", () => {
  document.querySelectorAll("details.scenario").forEach((section) => { section.open = true; });
});
