// The list of findings: which fit the filters, which one is shown, how many are decided.
// Whether a finding is decided is the server's to say; here it is only remembered.

export class Queue {
  constructor(data) {
    this.images = data.images;
    this.findings = data.findings;
    this.classNames = data.class_names;
    this.decisions = new Map(Object.entries(data.decisions));
    this.words = new Map(data.issues.map((entry) => [entry.issue, entry]));
    this.filter = { issue: "", className: "", openOnly: false };
    this.at = -1; // -1: nothing to show
    this.placeOf = new Map(this.findings.map((finding, place) => [finding.id, place]));
    this.findingsOf = this.images.map(() => []);
    for (const finding of this.findings) {
      for (const image of finding.members) this.findingsOf[image].push(finding);
    }
  }

  get current() {
    return this.at < 0 ? null : this.findings[this.at];
  }

  decisionOf(image) {
    return this.decisions.get(this.images[image].id) ?? null;
  }

  // The decision on an image that counts for a finding: a keep for another issue does not, nor an apart.
  answerTo(finding, image) {
    const decision = this.decisionOf(image);
    return ["keep", "apart"].includes(decision?.action) && !decision.answered.includes(finding.issue) ? null : decision;
  }

  isAnswered(finding, image) {
    return this.decisionOf(image)?.answered.includes(finding.issue) ?? false;
  }

  // The other findings of an image that are open.
  openBeside(finding, image) {
    return this.findingsOf[image].filter((other) => other !== finding && isOpen(other) && !this.isAnswered(other, image));
  }

  // The class an image has now, by the decision taken.
  labelOf(image) {
    const decision = this.decisionOf(image);
    return decision?.label || this.images[image].label;
  }

  fits(finding) {
    const { issue, className, openOnly } = this.filter;
    if (issue && finding.issue !== issue) return false;
    if (openOnly && !isOpen(finding)) return false;
    if (!className || finding.label === className) return true;
    return finding.members.some((image) => this.images[image].label === className || this.labelOf(image) === className);
  }

  // The place of the next finding in one direction for which `isWanted` holds, or -1.
  seek(from, step, isWanted = () => true) {
    for (let place = from + step; place >= 0 && place < this.findings.length; place += step) {
      if (this.fits(this.findings[place]) && isWanted(this.findings[place])) return place;
    }
    return -1;
  }

  // Where to go after a decision: onward to the next open finding, stopping at notes on the way; at the end back to the
  // first open one.
  after(place) {
    const onward = this.seek(place, 1, (finding) => finding.kind === "note" || isOpen(finding));
    return onward >= 0 ? onward : this.seek(-1, 1, isOpen);
  }

  first() {
    const open = this.seek(-1, 1, isOpen);
    return open >= 0 ? open : this.seek(-1, 1);
  }

  // The number of the finding among those that fit, and how many those are.
  position() {
    let [number, total] = [0, 0];
    this.findings.forEach((finding, place) => {
      if (!this.fits(finding) && place !== this.at) return;
      total += 1;
      if (place <= this.at) number += 1;
    });
    return { number, total };
  }

  progress(issue = "") {
    const asked = this.findings.filter((finding) => finding.kind !== "note" && (!issue || finding.issue === issue));
    const all = this.findings.filter((finding) => !issue || finding.issue === issue);
    return { decided: asked.filter((finding) => finding.decided).length, total: asked.length, notes: all.length - asked.length };
  }

  // What the server says of images and findings after a decision.
  learn(answer) {
    for (const [id, decision] of Object.entries(answer.decisions ?? {})) {
      if (decision) this.decisions.set(id, decision);
      else this.decisions.delete(id);
    }
    for (const [id, decided] of Object.entries(answer.decided ?? {})) this.findings[this.placeOf.get(id)].decided = decided;
  }
}

export const isOpen = (finding) => finding.kind !== "note" && !finding.decided;
