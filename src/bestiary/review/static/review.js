// The review page: keys and buttons → decisions, which the server has on disk before the page shows them as done.
import { byId, element } from "./elements.js";
import { pick } from "./picker.js";
import { Queue } from "./queue.js";
import { draw, drawProgress, prefetch, said } from "./view.js";

const SAVE_WITHIN_MS = 20000;
let queue = null;
let root = "";
let selected = -1; // the image that decisions are about
let saving = false;
let hasMoved = false; // whether the reader has gone to another finding since the last decision
const history = []; // of this page: what each decision replaced

function show(place) {
  queue.at = place;
  const finding = queue.current;
  const open = finding?.members.filter((image) => !queue.isAnswered(finding, image)) ?? [];
  selected = open.find((image) => image === finding.image) ?? open[0] ?? finding?.members[0] ?? -1;
  redraw();
}

function redraw() {
  draw(queue, selected, acts);
  drawProgress(queue, acts);
  prefetch(queue);
}

const say = (words) => {
  byId("status").textContent = words;
};

function alarm(reason) {
  byId("alarm").replaceChildren(element("strong", "", "Not saved."), ` ${reason}`);
  byId("alarm").hidden = false;
}

// `edits`: image number → its change (`action`, and `label` or `former`). True once it is on disk.
async function save(finding, edits) {
  const changes = [...edits].map(([image, change]) => {
    const there = queue.decisionOf(image);
    const was = there && { action: there.action, label: there.label, issues: there.issues };
    return { image_id: queue.images[image].id, issue: finding.issue, was, ...change };
  });
  saving = true;
  say("Saving…");
  try {
    const answer = await fetch("decide", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ changes }),
      signal: AbortSignal.timeout(SAVE_WITHIN_MS),
    });
    const isJson = answer.headers.get("Content-Type") === "application/json";
    const content = isJson ? await answer.json() : { error: await answer.text() };
    queue.learn(content);
    if (answer.ok) {
      byId("alarm").hidden = true;
      return true;
    }
    alarm(content.error);
  } catch {
    alarm("The review server does not answer: start it again with `bestiary review`, and open the address that it prints. What was shown as saved is on disk.");
  } finally {
    saving = false;
  }
  say("Not saved.");
  redraw();
  return false;
}

async function decide(edits, words) {
  const finding = queue.current;
  if (saving || !finding) return;
  const before = new Map([...edits.keys()].map((image) => [image, queue.decisionOf(image)]));
  if (!(await save(finding, edits))) return;
  history.push({ finding, before });
  hasMoved = false;
  say(`Saved: ${words}`);
  if (finding.decided) show(queue.after(queue.placeOf.get(finding.id)));
  else show(queue.placeOf.get(finding.id));
}

async function undo() {
  const finding = queue.current;
  if (saving) return;
  const decided = finding?.members.filter((image) => queue.isAnswered(finding, image) || (finding.kind === "image" && queue.answerTo(finding, image))) ?? [];
  const here = decided.length > 0 && (hasMoved || history.length === 0);
  if (here) {
    if (await save(finding, new Map(decided.map((image) => [image, decision("undo")])))) {
      say("Undone: undecided again.");
      show(queue.at);
    }
    return;
  }
  const last = history.at(-1);
  if (!last) return say("Nothing to undo.");
  if (!(await save(last.finding, new Map([...last.before].map(([image, there]) => [image, restored(there)]))))) return;
  history.pop();
  say("Undone.");
  show(queue.placeOf.get(last.finding.id));
}

// The row that was there, or none, with who decided and when.
function restored(there) {
  if (!there) return { action: "restore" };
  const { answered, ...former } = there;
  return { action: "restore", former };
}

const name = (image) => queue.images[image].path.split("/").at(-1);
const decision = (action, label = "") => ({ action, label });

const acts = {
  keep() {
    if (selected < 0) return say("Nothing to decide here: N goes on.");
    const open = queue.current.members.filter((image) => !queue.isAnswered(queue.current, image));
    const images = open.length ? open : [selected];
    decide(new Map(images.map((image) => [image, decision("keep")])), images.length === 1 ? `${name(images[0])} kept.` : `${images.length} kept.`);
  },
  drop() {
    if (selected < 0) return say("Nothing to decide here: N goes on.");
    decide(new Map([[selected, decision("drop")]]), `${name(selected)} dropped.`);
  },
  apart() {
    if (queue.current?.kind !== "cluster") return say("Only copies can be set apart.");
    decide(new Map([[selected, decision("apart")]]), `${name(selected)} set apart: it is no copy of the others.`);
  },
  relabel(label) {
    if (selected < 0) return say("Nothing to decide here: N goes on.");
    if (label === queue.images[selected].label) {
      const back = queue.labelOf(selected) !== label && !queue.isAnswered(queue.current, selected);
      return say(back ? `It was found as ${label}: go on and back, then U takes the relabel back.` : `Its label is ${label} already: K keeps it.`);
    }
    decide(new Map([[selected, decision("relabel", label)]]), `${name(selected)} relabelled to ${label}.`);
  },
  suggestion() {
    if (selected >= 0 && !queue.current.suggestion) return say("No suggestion here: L lists all classes.");
    acts.relabel(queue.current?.suggestion);
  },
  other() {
    if (selected < 0) return say("Nothing to decide here: N goes on.");
    const choices = queue.classNames.map((label, place) => ({ name: label, value: label, note: place < 10 ? String((place + 1) % 10) : "" }));
    pick(`Relabel ${name(selected)} to`, choices, acts.relabel);
  },
  accept() {
    if (queue.current?.kind !== "cluster") return say("Only copies have one to keep: K keeps this image.");
    const edits = new Map();
    for (const image of queue.current.members) {
      const there = queue.decisionOf(image);
      // A relabel stays; one to the class that the image was found as, which a hand may write, is a keep.
      const relabelled = there?.label && there.label !== queue.images[image].label;
      if (image === selected) edits.set(image, relabelled ? decision("relabel", there.label) : decision("keep"));
      else if (there?.action !== "drop") edits.set(image, decision("drop"));
    }
    decide(edits, `${name(selected)} kept, ${edits.size - 1} dropped.`);
  },
  select(image) {
    selected = image;
    redraw();
  },
  issue(issue) {
    narrow({ issue: queue.filter.issue === issue ? "" : issue });
  },
};

function step(by) {
  const from = queue.at < 0 ? queue.findings.length : queue.at;
  const place = queue.seek(from, by);
  if (place < 0) return say(by > 0 ? "That was the last one." : "This is the first one.");
  hasMoved = true;
  say("");
  show(place);
}

function selectBy(by) {
  const members = queue.current.members;
  selected = members[(members.indexOf(selected) + by + members.length) % members.length];
  const decided = queue.answerTo(queue.current, selected);
  say(`${name(selected)}${decided ? `: ${said(decided).toLowerCase()}` : ""}`);
  redraw();
}

function narrow(change) {
  Object.assign(queue.filter, change);
  hasMoved = true;
  say("");
  show(queue.current && queue.fits(queue.current) ? queue.at : queue.first());
}

function pickClassFilter() {
  const all = { name: "All classes", value: "", note: "" };
  pick("Show findings of", [all, ...queue.classNames.map((label) => ({ name: label, value: label, note: "" }))], (className) => narrow({ className }));
}

// A table may name files by their whole path.
const absolute = (path) => (/^(\/|[A-Za-z]:[\\/])/.test(path) ? path : `${root.replace(/\/$/, "")}/${path}`);

async function copyPath() {
  const image = selected >= 0 ? queue.images[selected] : queue.images[queue.current?.image];
  const path = image?.path ?? queue.current?.path;
  if (!path) return say("No file here.");
  try {
    await navigator.clipboard.writeText(absolute(path));
    say("Path copied.");
  } catch {
    getSelection().selectAllChildren(byId("path"));
    say("The browser does not let the page copy: the path is selected.");
  }
}

const KEYS = {
  k: acts.keep,
  d: acts.drop,
  r: acts.suggestion,
  l: acts.other,
  "/": acts.other,
  a: acts.accept,
  s: acts.apart,
  u: undo,
  y: copyPath,
  o: () => narrow({ openOnly: !queue.filter.openOnly }),
  c: pickClassFilter,
  "?": () => byId("keys").showModal(),
};
const GOING = { n: () => step(1), arrowright: () => step(1), p: () => step(-1), arrowleft: () => step(-1) };

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  const key = event.key.toLowerCase();
  const by = { arrowdown: 1, arrowup: -1 }[key];
  let act = GOING[key];
  if (by && queue.current?.kind === "cluster") act = () => selectBy(by);
  // A key held down steps, but decides once only.
  if (!act && !event.repeat) {
    act = KEYS[key];
    if (/^[0-9]$/.test(key)) {
      const label = queue.classNames[(Number(key) + 9) % 10];
      act = label === undefined ? () => say(`There is no class ${key}.`) : () => acts.relabel(label);
    }
  }
  if (!act) return;
  event.preventDefault();
  if (!saving) act();
}

async function begin() {
  const answer = await fetch("queue");
  if (!answer.ok) throw new Error(await answer.text());
  const data = await answer.json();
  queue = new Queue(data);
  root = data.root;
  document.title = `Review: ${data.study}`;
  byId("study").textContent = data.study;
  byId("help").addEventListener("click", KEYS["?"]);
  byId("open-only").addEventListener("click", KEYS.o);
  byId("class-filter").addEventListener("click", pickClassFilter);
  byId("copy").addEventListener("click", copyPath);
  byId("previous").addEventListener("click", GOING.p);
  byId("next").addEventListener("click", GOING.n);
  byId("undo").addEventListener("click", undo);
  document.addEventListener("keydown", onKey);
  // After a click of the mouse no button keeps the focus: Enter and Space would press it again on the next finding.
  document.addEventListener("click", (event) => {
    const inDialog = event.target instanceof Element && event.target.closest("dialog, summary");
    if (event.detail > 0 && !inDialog && !document.querySelector("dialog[open]")) byId("finding").focus({ preventScroll: true });
  });
  const narrowScreen = matchMedia("(max-width: 60rem)");
  const fold = () => {
    byId("filters").open = !narrowScreen.matches;
  };
  narrowScreen.addEventListener("change", fold);
  fold();
  show(queue.first());
  document.body.dataset.ready = "true";
}

begin().catch((error) => {
  byId("title").textContent = "The findings cannot be read";
  byId("reason").textContent = error.message;
});
