"use strict";
(() => {
const data = JSON.parse(document.getElementById("data").textContent);
const { views, titles, pictures } = data;
if (!views.length) return;
const byId = (id) => document.getElementById(id);
const WHOLE = 1000;  // places of matches and boxes are in thousandths of an image

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function address(number) { return `data:image/jpeg;base64,${pictures[number][0]}`; }

function picture(number, name, said) {
  const [found, trouble] = pictures[number];
  if (found) return make("img", { src: address(number), alt: said, decoding: "async", draggable: "false" });
  return make("span", { class: "missing", role: "img", "aria-label": `${said}: ${trouble}` },
    make("b", {}, trouble), " ", make("span", { dir: "auto" }, name));
}

const NOTHING = { matches: [], heat: [], box: null };

function pairOf(view, tile) {  // its view, or why there is none
  const missing = [view.picture, tile.picture].map((number) => pictures[number][1]).find(Boolean);
  if (missing) return { ...NOTHING, trouble: missing };
  const first = data.pair_note && "only the first reranked images are explained";
  return view.pairs[tile.picture] ?? { ...NOTHING, trouble: first };
}

// --- the list of queries: what is far from sight is not drawn

const sections = views.map((view, q) => {
  const header = make("header", {}, make("h2", { dir: "auto" }, view.name));
  if (view.aps) {
    const gain = view.aps.at(-1) - view.aps[0];
    header.append(make("span", { class: "ap" }, `AP ${view.aps.map((ap) => ap.toFixed(3)).join(" → ")} `,
      view.aps.length < 2 ? "" : make("b", { class: gain > 0 ? "better" : gain < 0 ? "worse" : "quiet" },
        (gain >= 0 ? "+" : "−") + Math.abs(gain).toFixed(3))));
  }
  for (const mark of view.marks) header.append(make("span", { class: "mark" }, mark));
  return make("section", { class: "query", id: `query-${q + 1}` }, header);
});

let tall = 0;

function draw(q) {
  const section = sections[q], view = views[q];
  if (section.childElementCount > 1) return;
  const lists = make("div");
  view.lists.forEach((tiles, number) => {
    const right = tiles.filter((tile) => ["easy", "hard", "right"].includes(tile.tag)).length;
    const counted = tiles.filter((tile) => tile.rank !== null).length;
    const share = tiles.some((tile) => tile.tag) ? make("span", { class: "quiet" }, `${right} of ${counted} right`) : "";
    lists.append(make("h3", {}, titles[number], " ", share),
      make("ol", { class: titles.length > 1 ? "strip" : "strip wide" }, ...tiles.map((tile, place) => drawTile(q, number, place, tile))));
  });
  section.append(make("div", { class: "lists" },
    make("div", { class: "asked", title: view.name }, picture(view.picture, view.name, `query ${view.name}`),
      make("p", { class: "quiet" }, view.said ? `query, ${view.said}` : "query")), lists));
  section.style.minHeight = "";
  dim(section);
  if (!tall) {
    tall = section.offsetHeight;
    document.documentElement.style.setProperty("--tall", `${tall}px`);  // of those that are not drawn
  }
}

function drawTile(q, number, place, tile) {
  const said = [tile.rank === null ? "" : `rank ${tile.rank}`, tile.tag, tile.name].filter(Boolean).join(", ");
  const button = make("button", { type: "button", "aria-label": said }, picture(tile.picture, tile.name, said));
  button.addEventListener("click", () => openPair(q, number, place));
  const first = make("p", {}, make("b", {}, tile.rank ?? "–"), " ");
  if (tile.tag) first.append(make("span", { class: "tag" }, `${{ wrong: "✗ ", junk: "" }[tile.tag] ?? "✓ "}${tile.tag}`));
  const node = make("li", { class: `tile ${tile.tag} ${pairOf(views[q], tile).heat.length ? "viewed" : ""}`, title: tile.name,
    "data-tag": tile.tag }, button, first);
  if (tile.before !== null) {
    const arrow = tile.before > tile.rank ? "↑ " : tile.before < tile.rank ? "↓ " : "";
    node.append(make("p", {}, `${arrow}was ${tile.before}`));
  }
  node.append(make("p", { class: "quiet name", dir: "auto" }, tile.name), make("p", { class: "quiet" }, tile.said.replace(/ (?=[-\d])/g, "\u00a0")));
  return node;
}

function dim(section) {
  const tag = byId("tag").value;
  for (const node of section.querySelectorAll(".tile")) node.hidden = tag !== "" && node.dataset.tag !== tag;
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const section = entry.target, q = sections.indexOf(section);
    if (entry.isIntersecting) draw(q);
    else if (section.childElementCount > 1) {
      section.style.minHeight = `${section.offsetHeight}px`;
      section.lastElementChild.remove();
    }
  }
}, { rootMargin: "1200px 0px" });

// --- filters, order, keys

const gain = (view) => view.aps.at(-1) - view.aps[0];
const ORDERS = {
  "most harmed first": (a, b) => gain(views[a]) - gain(views[b]),
  "most helped first": (a, b) => gain(views[b]) - gain(views[a]),
  "lowest AP first": (a, b) => views[a].aps.at(-1) - views[b].aps.at(-1),
  "by name": (a, b) => (views[a].name < views[b].name ? -1 : views[a].name > views[b].name ? 1 : 0),
};
let listed = [], here = -1;

function options(select, pairs) {
  for (const [value, text] of pairs) select.append(make("option", { value }, text));
  select.closest("label").hidden = pairs.length < 2;
  select.addEventListener("change", list);
}

function counts(values) {
  const found = new Map();
  for (const value of values) if (value) found.set(value, (found.get(value) ?? 0) + 1);
  return [...found].map(([value, count]) => [value, `${value} (${count})`]);
}

function list() {
  const words = byId("find").value.toLowerCase(), mark = byId("mark").value, tag = byId("tag").value;
  const fits = (view) =>
    (!mark || view.marks.includes(mark)) &&
    (!tag || view.lists.some((tiles) => tiles.some((tile) => tile.tag === tag))) &&
    (!words || view.name.toLowerCase().includes(words) ||
      view.lists.some((tiles) => tiles.some((tile) => tile.name.toLowerCase().includes(words))));
  listed = views.map((_, q) => q).filter((q) => fits(views[q]));
  const compare = ORDERS[byId("order").value];
  if (compare) listed.sort((a, b) => compare(a, b) || a - b);
  byId("queries").replaceChildren(...listed.map((q) => sections[q]));
  for (const q of listed) dim(sections[q]);
  byId("count").value = `${listed.length} of ${views.length} queries`;
  go(-1);
}

function go(place) {
  if (listed[here] !== undefined) sections[listed[here]].classList.remove("here");
  here = place;
  for (const section of byId("queries").querySelectorAll(".here")) section.classList.remove("here");
  if (place < 0) return;
  const section = sections[listed[place]];
  draw(listed[place]);
  section.classList.add("here");
  section.scrollIntoView();
  requestAnimationFrame(() => requestAnimationFrame(() => section.scrollIntoView()));  // those above are drawn
  section.querySelector(".tile:not([hidden]) button")?.focus({ preventScroll: true });
  remember(`#query-${listed[place] + 1}`);
}

// Where one is can be sent on: #query-3 and, for the second image of its first list, #pair-3-1-2
function remember(place) {
  if (location.protocol !== "about:") history.replaceState(null, "", place);
}

function recall() {
  const [kind, ...numbers] = location.hash.slice(1).split("-"), [q, number, place] = numbers.map((n) => Number(n) - 1);
  if (!views[q]) return;
  go(listed.indexOf(q));
  if (kind === "pair" && views[q].lists[number]?.[place]) openPair(q, number, place);
}

function inSight(q) {
  const { top, bottom } = sections[q].getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function step(by) {  // from the first in sight, where one has scrolled away
  const place = listed[here] !== undefined && inSight(listed[here]) ? here + by : listed.findIndex(inSight);
  if (listed.length) go(Math.min(Math.max(place, 0), listed.length - 1));
}

function help() {
  byId("help").hidden = !byId("help").hidden;
  byId("keys").setAttribute("aria-expanded", String(!byId("help").hidden));
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input:not([type=checkbox]), select");
  if (byId("pair").open) {
    const toggles = { m: "lines", h: "heat", b: "box" };
    if (event.key in toggles) byId(toggles[event.key]).click();
    else if (!typing && event.key === "ArrowLeft") other(-1);
    else if (!typing && event.key === "ArrowRight") other(1);
    return;
  }
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const keys = { j: () => step(1), k: () => step(-1), "/": () => byId("find").focus(), "?": help };
  if (event.key in keys) {
    event.preventDefault();
    keys[event.key]();
  }
});

// --- a pair: both images, lines between matches, heat, box

let shown = null;

function openPair(q, number, place) {
  shown = { q, number, place };
  const view = views[q], tile = view.lists[number][place], pair = pairOf(view, tile);
  byId("pair-title").replaceChildren(make("bdi", {}, view.name), " ⇄ ", make("bdi", {}, tile.name));
  const told = [titles[number], tile.rank === null ? "" : `rank ${tile.rank}`, tile.before === null ? "" : `was ${tile.before}`,
    tile.tag, tile.said];
  if (pair.heat.length) told.push(`${pair.matches.length} matches`, pair.box ? "" : "no box");
  byId("pair-said").textContent = told.filter(Boolean).join(" · ");
  byId("pair-note").textContent = pair.trouble ? `No matches are shown: ${pair.trouble}.` : data.pair_note;
  const most = pair.matches.length;
  byId("many").max = most;
  byId("many").value = Math.min(most, 40);
  for (const id of ["lines", "heat", "box", "many"]) byId(id).disabled = !most;
  if (!byId("pair").open) byId("pair")[data.opened ? "show" : "showModal"]();
  remember(`#pair-${q + 1}-${number + 1}-${place + 1}`);
  return drawPair();
}

function other(by) {
  const place = shown.place + by;
  if (views[shown.q].lists[shown.number][place]) openPair(shown.q, shown.number, place);
}

async function decoded(number) {
  if (!pictures[number][0]) return null;
  const image = new Image();
  image.src = address(number);
  await image.decode();
  return image;
}

function heatImage({ data: levels, width, height }) {
  const canvas = make("canvas", { width, height }), bytes = atob(levels);
  const context = canvas.getContext("2d"), cells = context.createImageData(width, height);
  for (let i = 0; i < bytes.length; i++) {
    const level = bytes.charCodeAt(i);
    cells.data.set([255, 200 - 0.6 * level, 0, 0.75 * level], 4 * i);
  }
  context.putImageData(cells, 0, 0);
  return canvas;
}

let drawing = 0;

async function drawPair() {
  const mine = ++drawing, view = views[shown.q], tile = view.lists[shown.number][shown.place];
  const pair = pairOf(view, tile), numbers = [view.picture, tile.picture];
  const images = await Promise.all(numbers.map(decoded));
  if (mine !== drawing) return;
  const sizes = images.map((image) => (image ? [image.naturalWidth, image.naturalHeight] : [300, 300]));
  const width = byId("pair").clientWidth - 34, gap = 12, beside = width > 560;
  const tall = (beside ? 0.62 : 0.36) * innerHeight;
  const each = beside ? (width - gap) / 2 : width;
  const rooms = sizes.map(([w, h]) => Math.min(each / w, tall / h)).map((s, i) => sizes[i].map((side) => side * s));
  const [one, two] = rooms;
  const corners = beside ? [[0, 0], [one[0] + gap, 0]] : [[0, 0], [0, one[1] + gap]];
  const total = beside ? [one[0] + gap + two[0], Math.max(one[1], two[1])] : [Math.max(one[0], two[0]), one[1] + gap + two[1]];
  const canvas = byId("drawing"), dense = devicePixelRatio || 1, context = canvas.getContext("2d");
  [canvas.width, canvas.height] = total.map((side) => Math.round(side * dense));
  [canvas.style.width, canvas.style.height] = total.map((side) => `${side}px`);
  context.scale(dense, dense);
  const at = (side, x, y) => [corners[side][0] + (x / WHOLE) * rooms[side][0], corners[side][1] + (y / WHOLE) * rooms[side][1]];
  images.forEach((image, side) => {
    const place = [...corners[side], ...rooms[side]];
    if (image) context.drawImage(image, ...place);
    else {
      context.strokeStyle = "#888";
      context.strokeRect(...place);
      context.fillStyle = "#888";
      context.fillText(pictures[numbers[side]][1], place[0] + 10, place[1] + 20);
    }
    if (pair.heat.length && byId("heat").checked) context.drawImage(heatImage(pair.heat[side]), ...place);
  });
  const many = byId("lines").checked ? Number(byId("many").value) : 0;
  byId("number").value = pair.heat.length ? `${many} of ${pair.matches.length}` : "";
  const stroke = (path, colour, thick) => {
    for (const [tone, more] of [["#000b", 1.5], [colour, 0]]) {
      context.strokeStyle = tone;
      context.lineWidth = thick + more;
      context.stroke(path);
    }
  };
  for (const [x1, y1, x2, y2, weight] of pair.matches.slice(0, many).reverse()) {
    const path = new Path2D(), [a, b] = [at(0, x1, y1), at(1, x2, y2)];
    path.moveTo(...a);
    path.lineTo(...b);
    context.globalAlpha = 0.25 + 0.75 * (weight / WHOLE);
    stroke(path, "#ffd000", 1.2);
    for (const end of [a, b]) {
      const dot = new Path2D();
      dot.arc(...end, 3, 0, 7);
      stroke(dot, "#ffd000", 1.5);
    }
  }
  context.globalAlpha = 1;
  if (pair.box && byId("box").checked) {
    const [x1, y1, x2, y2] = pair.box, start = at(1, x1, y1), end = at(1, x2, y2), path = new Path2D();
    path.rect(...start, end[0] - start[0], end[1] - start[1]);
    stroke(path, "#00c8ff", 3);
  }
  canvas.setAttribute("aria-label", `${byId("pair-title").textContent}: ${byId("pair-said").textContent}; ${many} lines`);
  byId("pair").dataset.drawn = String(mine);
}

for (const id of ["lines", "heat", "box", "many"]) byId(id).addEventListener("input", drawPair);
byId("close").addEventListener("click", () => byId("pair").close());
byId("pair").addEventListener("close", () => remember(`#query-${shown.q + 1}`));
byId("before").addEventListener("click", () => other(-1));
byId("after").addEventListener("click", () => other(1));
addEventListener("resize", () => byId("pair").open && drawPair());

document.querySelector(".tools").hidden = views.length < 2;
const judged = views.every((view) => view.aps);
options(byId("mark"), [["", "all"], ...counts(views.flatMap((view) => view.marks))]);
options(byId("tag"), [["", "all"], ...counts(views.flatMap((view) => view.lists.flat().map((tile) => tile.tag)))]);
const orders = judged && views[0].aps.length > 1 ? Object.keys(ORDERS)
  : judged ? ["as picked", "lowest AP first", "by name"] : ["as asked", "by name"];
options(byId("order"), orders.map((order) => [order, order]));
byId("find").addEventListener("input", list);
byId("keys").addEventListener("click", help);
for (const section of sections) near.observe(section);
list();
document.body.classList.toggle("single", data.opened);
if (data.opened) openPair(0, 0, 0);
else recall();
addEventListener("hashchange", recall);
addEventListener("beforeprint", () => listed.slice(0, 200).forEach(draw));
})();
