// A searchable list of classes in a dialog. Names come from the data: they are only ever set as text.
import { element } from "./elements.js";

const dialog = document.getElementById("picker");
const search = document.getElementById("picker-search");
const list = document.getElementById("picker-list");
let options = [];
let shown = [];
let chosen = 0;
let take = null;

// `choices`: objects with `name`, `value` and a short `note`. `onTake` gets the value; leaving calls nothing.
export function pick(title, choices, onTake) {
  document.getElementById("picker-title").textContent = title;
  options = choices;
  take = onTake;
  search.value = "";
  narrow();
  dialog.showModal();
  search.focus();
}

function narrow() {
  const wanted = search.value.trim().toLocaleLowerCase();
  const rank = (option) => {
    const name = option.name.toLocaleLowerCase();
    return name.startsWith(wanted) ? 0 : name.includes(wanted) ? 1 : 2;
  };
  shown = options.filter((option) => rank(option) < 2).sort((a, b) => rank(a) - rank(b));
  chosen = 0;
  list.replaceChildren(
    ...shown.map((option, place) => {
      const item = element("li", "", element("bdi", "", option.name), element("span", "note", option.note));
      item.id = `picker-${place}`;
      item.setAttribute("role", "option");
      item.addEventListener("click", () => finish(place));
      return item;
    }),
  );
  if (!shown.length) list.append(element("li", "none", "No class of this name"));
  mark();
}

function mark() {
  for (const [place, item] of [...list.children].entries()) {
    item.setAttribute("aria-selected", String(shown.length > 0 && place === chosen));
  }
  if (shown.length) {
    search.setAttribute("aria-activedescendant", `picker-${chosen}`);
    list.children[chosen].scrollIntoView({ block: "nearest" });
  } else search.removeAttribute("aria-activedescendant");
}

function finish(place) {
  const option = shown[place];
  dialog.close();
  if (option) take(option.value);
}

search.addEventListener("input", narrow);
dialog.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && shown.length) {
    chosen = (chosen + step + shown.length) % shown.length;
    mark();
  } else if (event.key === "Enter" && !event.repeat && shown.length) finish(chosen);
  else if (!step && event.key !== "Enter") return;
  event.preventDefault();
});
