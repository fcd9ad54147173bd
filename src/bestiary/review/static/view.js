// Draws one finding. Names, paths and reasons come from the data: they are only ever set as text.
import { button, byId, element, percent } from "./elements.js";
import { fill, picture, placeholder } from "./pictures.js";

const DIGITS = "1234567890";
const SEVERITY = { high: "High", medium: "Medium", low: "Low" };
const MOST_CHIPS = 10;
const AHEAD = 4;
const SEEN_AT_ONCE = 12;

export function said(decision) {
  if (!decision) return "";
  if (decision.action === "relabel") return `Relabelled to ${decision.label}`;
  if (decision.action === "apart") return decision.label ? `Set apart, relabelled to ${decision.label}` : "Set apart";
  return decision.action === "drop" ? "Dropped" : "Kept";
}

// `acts`: keep, suggestion, other, drop, apart, accept, relabel(name), select(image).
export function draw(queue, selected, acts) {
  const finding = queue.current;
  // "words": a note without a picture.
  byId("finding").dataset.kind = !finding ? "end" : finding.image < 0 && !finding.members.length && !finding.path ? "words" : finding.kind;
  byId("finding").dataset.finding = finding ? finding.id : "";
  drawWords(queue, finding);
  drawPicture(queue, finding, selected);
  drawOdds(finding);
  drawChoices(queue, finding, selected, acts);
  drawOthers(queue, finding, selected, acts);
}

function drawWords(queue, finding) {
  const severity = byId("severity");
  severity.textContent = finding ? SEVERITY[finding.severity] : "";
  severity.dataset.severity = finding ? finding.severity : "";
  const { number, total } = queue.position();
  byId("place").textContent = finding ? `${number.toLocaleString("en")} of ${total.toLocaleString("en")}` : "";
  const words = finding ? queue.words.get(finding.issue) : null;
  byId("title").textContent = words ? words.title : ending(queue)[0];
  byId("reason").textContent = finding ? finding.reason : "";
  byId("question").textContent = words ? words.question : ending(queue)[1];
}

function ending(queue) {
  const { decided, total } = queue.progress();
  if (!queue.findings.length) return ["Nothing was found", "The audit of this study has no findings."];
  if (decided === total) return ["All decided", "Close this page: every decision is in corrections.csv, which the next run of the study uses."];
  return ["Nothing left here", "No undecided finding fits these filters. Remove a filter to see the rest."];
}

function drawPicture(queue, finding, selected) {
  const frame = byId("frame");
  const image = selected >= 0 ? queue.images[selected] : finding && finding.image >= 0 ? queue.images[finding.image] : null;
  const decision = selected >= 0 ? queue.answerTo(finding, selected) : null;
  frame.parentElement.hidden = !finding || (!image && !finding.path);
  frame.dataset.image = image ? image.id : "";
  if (image && !image.error) {
    const img = fill(frame, image, "large");
    img.alt = `The image ${image.path}`;
    img.style.maxWidth = `${3 * image.width_px}px`; // a small image is not blown up beyond recognition
  } else placeholder(frame, image ? image.error : "The study no longer has this image.");
  byId("state").textContent = decision ? `${said(decision)}${decision.reviewed_by ? ` by ${decision.reviewed_by}` : ""}` : "";
  byId("state").dataset.action = decision ? decision.action : "";
  byId("label").textContent = image ? image.label : finding ? finding.label : "";
  byId("size").textContent = image ? [size(image), weight(image)].filter(Boolean).join(", ") : "";
  byId("given").textContent = image && image.split_given ? `given as ${image.split_given}` : "";
  byId("path").textContent = image ? image.path : finding ? finding.path : "";
  const also = selected >= 0 ? queue.openBeside(finding, selected) : [];
  const titles = [...new Set(also.map((other) => queue.words.get(other.issue).title))];
  byId("also").textContent = titles.length ? `Also: ${titles.join(", ")}` : "";
}

const weight = (image) => `${Math.max(1, Math.round(image.bytes / 1000)).toLocaleString("en")} kB`;
const size = (image) => (image.error ? "" : `${image.width_px} × ${image.height_px} px`);

function drawOdds(finding) {
  const rows = [];
  if (finding && finding.p_label !== null) rows.push(["Label", finding.label, finding.p_label, "label"]);
  if (finding && finding.suggestion) rows.push(["Suggestion", finding.suggestion, finding.p_suggestion, "suggestion"]);
  byId("odds").replaceChildren(
    ...rows.map(([word, name, p, kind]) => {
      const meter = element("span", "meter", element("span", kind));
      meter.firstChild.style.width = `${(p ?? 0) * 100}%`;
      return element("div", "", element("dt", "", word), element("dd", "", element("bdi", "name", name), element("span", "p", percent(p)), meter));
    }),
  );
}

function drawChoices(queue, finding, selected, acts) {
  const buttons = [];
  const cluster = finding?.kind === "cluster";
  const proposed = (action) => (finding.action === action ? "proposed" : "");
  if (selected >= 0) {
    if (cluster) buttons.push(button("Keep this one, drop the others", "A", acts.accept, `broad ${proposed("keep one")}`));
    if (finding.suggestion) {
      const words = element("span", "", "Relabel to ", element("bdi", "", finding.suggestion));
      buttons.push(button(words, "R", acts.suggestion, `broad ${proposed("relabel")}`));
    }
    buttons.push(button(cluster ? "Keep all" : "Keep", "K", acts.keep));
    buttons.push(button(cluster ? "Drop this one" : "Drop", "D", acts.drop, proposed("drop")));
    if (cluster) buttons.push(button("No copy: set this one apart", "S", acts.apart, "broad"));
    buttons.push(button("Other class…", "L", acts.other, "broad"));
  }
  // Where a button stays, the focus stays with it.
  const focused = byId("choices").contains(document.activeElement) ? document.activeElement.dataset.key : "";
  for (const made of buttons) made.dataset.key = made.querySelector("kbd").textContent;
  byId("choices").replaceChildren(...buttons);
  if (focused) (buttons.find((made) => made.dataset.key === focused) ?? byId("finding")).focus({ preventScroll: true });
  const chips = selected >= 0 && queue.classNames.length <= MOST_CHIPS ? queue.classNames : [];
  const inChips = byId("classes").contains(document.activeElement);
  byId("classes").replaceChildren(
    ...chips.map((name, place) => {
      const chip = button(element("bdi", "", name), DIGITS[place], () => acts.relabel(name), "chip");
      if (name === queue.labelOf(selected)) chip.setAttribute("aria-current", "true");
      return chip;
    }),
  );
  if (inChips) byId("finding").focus({ preventScroll: true });
}

function drawOthers(queue, finding, selected, acts) {
  const cluster = finding?.kind === "cluster";
  const images = finding ? (cluster ? finding.members : finding.nearby) : [];
  byId("others-part").hidden = images.length === 0;
  byId("others-title").textContent = cluster ? images.length === 1 ? "1 copy" : `${images.length} copies` : "Nearest neighbours";
  const focused = byId("others").contains(document.activeElement);
  byId("others").replaceChildren(
    ...images.map((image, place) => {
      const box = element("span", "thumb");
      fill(box, queue.images[image], "small").loading = place < SEEN_AT_ONCE ? "eager" : "lazy";
      const decision = finding.kind === "cluster" ? queue.answerTo(finding, image) : queue.decisionOf(image);
      const label = element("bdi", "name", queue.labelOf(image));
      const note = decision ? element("span", `mark ${decision.action}`, said(decision)) : "";
      const facts = cluster ? [size, weight, (given) => given.split_given].map((fact) => element("span", "given", fact(queue.images[image]))) : [];
      const holder = element(cluster ? "button" : "div", "other", box, label, ...facts, note);
      holder.title = queue.images[image].path;
      if (!cluster && finding.suggestion && label.textContent === finding.suggestion) label.classList.add("same");
      if (cluster) {
        holder.type = "button";
        holder.setAttribute("aria-pressed", String(image === selected));
        holder.addEventListener("click", () => acts.select(image));
      }
      const item = element("li", "", holder);
      item.dataset.image = queue.images[image].id;
      return item;
    }),
  );
  const pressed = byId("others").querySelector("[aria-pressed=true]");
  if (focused) (pressed ?? byId("finding")).focus({ preventScroll: true });
  // Within the strip only: the page itself stays where the reader has it.
  const strip = byId("others");
  if (pressed) strip.scrollLeft = pressed.offsetLeft - (strip.clientWidth - pressed.offsetWidth) / 2;
}

export function drawProgress(queue, acts) {
  const { decided, total } = queue.progress();
  byId("progress").max = Math.max(total, 1);
  byId("progress").value = decided;
  byId("progress-text").textContent = `${decided.toLocaleString("en")} of ${total.toLocaleString("en")} decided`;
  byId("open-only").setAttribute("aria-pressed", String(queue.filter.openOnly));
  byId("class-filter").setAttribute("aria-pressed", String(Boolean(queue.filter.className)));
  byId("class-filter").querySelector("bdi").textContent = queue.filter.className || "All classes";
  for (const { issue, title } of queue.words.values()) {
    let row = byId(`issue-${issue}`);
    if (!row) {
      row = button(element("span", "", title), "", () => acts.issue(issue), "toggle");
      row.id = `issue-${issue}`;
      row.append(element("span", "count"));
      byId("issues").append(element("li", "", row));
    }
    const { decided: done, total: of, notes } = queue.progress(issue);
    row.querySelector(".count").textContent = of ? `${done} / ${of}` : notes === 1 ? "1 note" : `${notes} notes`;
    row.classList.toggle("done", of > 0 && done === of);
    row.setAttribute("aria-pressed", String(queue.filter.issue === issue));
  }
}

// Ask for what comes next, so that going on is instant.
export function prefetch(queue) {
  let place = queue.at;
  for (let ahead = 0; ahead < AHEAD; ahead += 1) {
    place = queue.seek(place, 1);
    if (place < 0) return;
    const { image, members, nearby } = queue.findings[place];
    const first = members.length ? members[0] : image;
    if (first >= 0 && !queue.images[first].error) picture(queue.images[first], "large");
    if (ahead < 2) for (const other of [...members.slice(0, SEEN_AT_ONCE), ...nearby]) picture(queue.images[other], "small");
  }
}
