// The live page: puts what the view sends to its place. All other pages work without scripts.
"use strict";

// A DAG that is wider than the window is shown from where it begins.
for (const wrap of document.querySelectorAll(".dag-wrap")) {
  const box = wrap.querySelector(".dag-box");
  if (box && wrap.scrollWidth > wrap.clientWidth) {
    wrap.scrollLeft = Number(box.getAttribute("x")) + Number(box.getAttribute("width")) / 2 - wrap.clientWidth / 2;
  }
}

const live = document.getElementById("live");
if (live) {
  const lost = document.getElementById("live-lost");
  const place = { head: "live-head", running: "live-running", log: "live-log" };
  const source = new EventSource(live.dataset.feed);
  source.onopen = () => { lost.hidden = true; };
  source.onerror = () => { lost.hidden = false; };
  source.onmessage = (message) => {
    const parts = JSON.parse(message.data);
    for (const [name, id] of Object.entries(place)) {
      if (name in parts) put(document.getElementById(id), parts[name]);
    }
    if ("status" in parts) document.getElementById("live-status").textContent = parts.status;
    if ("title" in parts) document.title = parts.title + " · " + document.title.split(" · ").pop();
    for (const [id, look] of Object.entries(parts.nodes ?? {})) dress(id, look);
  };
  addEventListener("pagehide", () => source.close());
}

// The markup comes from the view, which escapes all names. A log that is read at its end stays there.
function put(element, markup) {
  const old = element.querySelector(".log");
  const atEnd = !old || old.scrollTop + old.clientHeight >= old.scrollHeight - 4;
  const top = old ? old.scrollTop : 0;
  element.innerHTML = markup;
  const log = element.querySelector(".log");
  if (log) log.scrollTop = atEnd ? log.scrollHeight : top;
}

// A node of the DAG: its colour, its second line, and a bar at its foot.
function dress(id, look) {
  const node = document.querySelector(`.dag-node[data-node="${CSS.escape(id)}"]`);
  if (!node) return;
  node.setAttribute("class", "dag-node " + look.class);
  node.querySelector(".dag-sub").textContent = look.sub;
  const box = node.querySelector(".dag-box");
  let bar = node.querySelector(".dag-bar");
  if (!bar) {
    bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    bar.setAttribute("class", "dag-bar");
    bar.setAttribute("x", Number(box.getAttribute("x")) + 6);
    bar.setAttribute("y", Number(box.getAttribute("y")) + Number(box.getAttribute("height")) - 5);
    bar.setAttribute("height", 2.5);
    bar.setAttribute("rx", 1.25);
    box.after(bar);
  }
  const room = Number(box.getAttribute("width")) - 12;
  bar.setAttribute("width", look.part === null ? 0 : room * look.part);
}
