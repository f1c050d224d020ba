// The customer's chat. What the customer sends waits in a queue until the server has it, and keeps its id meanwhile.

import { element, randomName, remember, remembered, repeat, uuid, withLinks } from "./dom.js";

const POLL_MS = 600;
const POLL_HIDDEN_MS = 5000;
const POLL_AWAY_MS = 2000;
const SEND_TIMEOUT_MS = 20_000;
const PHOTO_TIMEOUT_MS = 120_000;
const MAX_RETRY_MS = 10_000;

export class Chat {
  constructor(page) {
    this.page = page;
    this.log = document.getElementById("log");
    this.input = document.getElementById("chat-input");
    this.newBelow = document.getElementById("new-below");
    this.messages = [];
    this.waiting = false;
    this.greeted = false;
    this.loaded = false;
    this.unseen = 0;
    this.picked = [];
    this.nodes = new Map();
    this.visitor = remembered("visitor") || this.newVisitor();
    this.outgoing = restoredQueue();
    this.wire();
  }

  start() {
    this.poll = repeat(() => this.fetchMessages());
    this.sendNext();
  }

  newVisitor() {
    const visitor = randomName();
    remember("visitor", visitor);
    return visitor;
  }

  wire() {
    document.getElementById("composer").onsubmit = (event) => {
      event.preventDefault();
      this.submit();
    };
    this.input.onkeydown = (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.submit();
      }
    };
    this.input.oninput = () => this.fitInput();
    const chooser = document.getElementById("chat-photo");
    chooser.onchange = () => {
      this.pick(chooser.files);
      chooser.value = "";
    };
    this.input.onpaste = (event) => {
      if (event.clipboardData.files.length) {
        event.preventDefault();
        this.pick(event.clipboardData.files);
      }
    };
    const panel = document.getElementById("chat");
    panel.ondragover = (event) => event.preventDefault();
    panel.ondrop = (event) => {
      event.preventDefault();
      this.pick(event.dataTransfer.files);
    };
    this.newBelow.onclick = () => this.scrollDown();
    this.log.onscroll = () => {
      if (this.atEnd()) this.newBelow.hidden = true;
    };
    document.getElementById("chat-new").onclick = () => {
      if (confirm(this.page.text("chat_new_question"))) this.startAnew();
    };
  }

  startAnew() {
    this.visitor = this.newVisitor();
    this.messages = [];
    this.outgoing = [];
    this.waiting = this.greeted = this.loaded = false;
    this.keepQueue();
    this.draw();
    this.poll();
    this.input.focus();
  }

  /** Put words where the customer is writing. */
  insert(words) {
    const { value, selectionStart, selectionEnd } = this.input;
    const before = value.slice(0, selectionStart);
    const gap = before && !/\s$/.test(before) ? " " : "";
    this.input.focus();
    this.input.setRangeText(gap + words, selectionStart, selectionEnd, "end");
    this.fitInput();
  }

  fitInput() {
    this.input.style.height = "auto";
    this.input.style.height = `${this.input.scrollHeight + 2}px`;
  }

  // Sending ------------------------------------------------------------------------------------------------------

  pick(files) {
    for (const file of files) {
      if (file.type.startsWith("image/") || !file.type) this.picked.push({ file, preview: URL.createObjectURL(file) });
    }
    this.drawPicked();
    this.input.focus();
  }

  submit() {
    const text = this.input.value.trim();
    if (!text && !this.picked.length) return;
    // Whoever writes has found the way in: the room is needed for chat and letters.
    document.getElementById("guide").open = false;
    if (this.picked.length) {
      // A caption belongs to the first of several photos.
      this.picked.forEach((photo, place) => this.queue({ kind: "photo", text: place ? "" : text, ...photo }));
      this.picked = [];
      this.drawPicked();
    } else {
      this.queue({ kind: "text", text });
    }
    this.input.value = "";
    this.fitInput();
  }

  queue(item) {
    this.outgoing.push({ id: uuid(), language: this.page.language, at: new Date().toISOString(), state: "queued", ...item });
    this.keepQueue();
    this.draw();
    this.scrollDown();
    this.sendNext();
  }

  /** One after the other, so that messages arrive in the order in which they were written. */
  async sendNext() {
    if (this.sending) return;
    this.sending = true;
    let retryMs = 1000;
    for (let item; (item = this.outgoing.find(({ state }) => state === "queued" || state === "sending")); ) {
      item.state = "sending";
      const outcome = await this.post(item);
      if (outcome === "away") {
        item.state = "queued";
        this.page.serverAnswers("chat", false, item.kind !== "start");
        this.draw();
        await new Promise((done) => setTimeout(done, retryMs));
        retryMs = Math.min(retryMs * 2, MAX_RETRY_MS);
        continue;
      }
      retryMs = 1000;
      item.state = outcome;
      this.page.serverAnswers("chat", true);
      this.keepQueue();
      this.draw();
      this.poll?.();
    }
    this.sending = false;
  }

  /** @returns "taken", "refused" (for good) or "away" (to be sent again). */
  async post(item) {
    try {
      const answer = await (item.kind === "photo" ? this.postPhoto(item) : this.postMessage(item));
      if (answer.ok) return "taken";
      if (answer.status >= 500 || answer.status === 429 || answer.status === 408) return "away";
      const { detail } = await answer.json().catch(() => ({}));
      item.detail = typeof detail === "string" ? detail : this.page.text("not_sent_default");
      return "refused";
    } catch {
      return "away";
    }
  }

  postMessage({ id, language, kind, text, button }) {
    const content = kind === "start" ? { start: true } : kind === "button" ? { button } : { text };
    return fetch("/web/messages", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ visitor: this.visitor, id, language, ...content }),
      signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
    });
  }

  postPhoto({ id, language, text, file }) {
    const form = new FormData();
    const fields = { visitor: this.visitor, id, language, caption: text };
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", file);
    return fetch("/web/photos", { method: "POST", body: form, signal: AbortSignal.timeout(PHOTO_TIMEOUT_MS) });
  }

  /** What was not sent survives a reload of the page; a photo does not, its file is the browser's. */
  keepQueue() {
    const kept = this.outgoing.filter(({ state, kind }) => (state === "queued" || state === "sending") && kind !== "photo");
    remember("outgoing", kept.length ? JSON.stringify(kept) : null);
  }

  // Receiving ----------------------------------------------------------------------------------------------------

  async fetchMessages() {
    const { visitor } = this;
    const taken = this.outgoing.filter(({ state }) => state === "taken");
    let answered;
    try {
      const answer = await fetch(`/web/messages?visitor=${encodeURIComponent(visitor)}`, {
        signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
      });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      answered = await answer.json();
    } catch {
      const kept = this.outgoing.some(({ state, kind }) => (state === "queued" || state === "sending") && kind !== "start");
      this.page.serverAnswers("chat", false, kept);
      return POLL_AWAY_MS;
    }
    if (visitor !== this.visitor) return 0;
    if (!this.outgoing.some(({ state }) => state === "queued")) this.page.serverAnswers("chat", true);
    // What the server had taken before we asked is in its answer now.
    for (const { preview } of taken) if (preview) setTimeout(() => URL.revokeObjectURL(preview), 10_000);
    this.outgoing = this.outgoing.filter((item) => !taken.includes(item));
    this.receive(answered);
    return document.hidden ? POLL_HIDDEN_MS : POLL_MS;
  }

  receive({ messages, waiting }) {
    const known = new Set(this.messages.map(({ id }) => id));
    const fresh = this.loaded ? messages.filter(({ id, author }) => author === "bot" && !known.has(id)).length : 0;
    this.messages = messages;
    this.waiting = waiting;
    this.loaded = true;
    if (fresh && !this.page.isShown("chat")) this.page.showCount("chat", (this.unseen += fresh));
    if (!messages.length && !waiting && !this.greeted && !this.outgoing.length) {
      this.queue({ kind: "start", text: "" });
    }
    this.greeted = true;
    this.draw();
  }

  // Drawing ------------------------------------------------------------------------------------------------------

  redraw() {
    this.nodes.clear();
    this.drawPicked();
    this.draw();
  }

  /** The panel came into view. */
  shown() {
    if (!this.page.isShown("chat")) return;
    this.unseen = 0;
    this.page.showCount("chat", 0);
    this.scrollDown();
  }

  draw() {
    const following = this.atEnd();
    const before = this.log.childElementCount;
    const shown = [];
    let day = "";
    const local = this.outgoing.filter(({ kind }) => kind !== "start").map((item) => this.asMessage(item));
    const lastBot = this.messages.findLast(({ author }) => author === "bot")?.id;
    const pressed = this.outgoing.some(({ state }) => state !== "refused");
    for (const message of [...this.messages, ...local]) {
      const thisDay = new Date(message.at).toDateString();
      if (thisDay !== day) shown.push(this.node(`day ${thisDay}`, () => this.daySeparator(message.at)));
      day = thisDay;
      const live = message.id === lastBot && !pressed;
      const key = JSON.stringify([message.id, message.text, message.photo, message.state, message.detail, message.buttons]);
      const node = this.node(key, () => this.bubble(message));
      for (const button of node.querySelectorAll(".quick button")) button.disabled = !live;
      shown.push(node);
    }
    if (this.loaded && !shown.length && !this.waiting && !pressed) {
      shown.push(this.node("empty", () => element("p", { className: "empty" }, [this.page.text("chat_empty")])));
    }
    if (this.waiting || this.outgoing.some(({ state }) => state === "taken")) {
      shown.push(this.node("typing", () => this.typing()));
    }
    this.place(shown);
    if (following) this.scrollDown();
    else if (this.log.childElementCount > before) this.newBelow.hidden = false;
  }

  /** The node of a key; the same key gives the same node, so that nothing is read aloud or loaded twice. */
  node(key, make) {
    if (!this.nodes.has(key)) this.nodes.set(key, make());
    return this.nodes.get(key);
  }

  place(shown) {
    const wanted = new Set(shown);
    for (const [key, node] of this.nodes) {
      if (!wanted.has(node)) {
        node.remove();
        this.nodes.delete(key);
      }
    }
    for (const child of [...this.log.children]) if (!wanted.has(child)) child.remove();
    shown.forEach((node, position) => {
      if (this.log.children[position] !== node) this.log.insertBefore(node, this.log.children[position] ?? null);
    });
  }

  asMessage({ id, at, text, preview, state, detail }) {
    return { id, author: "customer", text, at, buttons: [], photo: preview ?? null, state, detail };
  }

  bubble({ id, author, text, at, buttons, photo, state, detail }) {
    const { page } = this;
    const time = element("time", { dateTime: at }, [page.moment(at, { hour: "2-digit", minute: "2-digit" })]);
    const bubble = element("div", { className: `bubble ${state === "refused" ? "refused" : ""}` }, [
      element("span", { className: "only-read" }, [`${page.text(author === "bot" ? "bot" : "you")}: `]),
      photo && this.photo(photo),
      text && element("p", {}, withLinks(text)),
      element("span", { className: "meta" }, [
        state === "queued" && `${page.text("waiting_to_send")} · `,
        state === "sending" && `${page.text("sending")} · `,
        time,
      ]),
    ]);
    const message = element("div", { className: `message ${author}`, "data-testid": `message-${author}` }, [bubble]);
    if (buttons?.length) {
      const press = (button) => this.queue({ kind: "button", text: button.title, button: button.key });
      message.append(
        element("div", { className: "quick" }, buttons.map((button) =>
          element("button", { type: "button", "data-testid": "quick-reply", onclick: () => press(button) }, [button.title]),
        )),
      );
    }
    if (state === "refused") message.append(this.refusal(id, detail));
    return message;
  }

  photo(address) {
    const image = element("img", { src: address, alt: this.page.text("photo"), onload: () => this.stayed && this.scrollDown() });
    return element("a", { href: address, target: "_blank", rel: "noopener", className: "photo" }, [image]);
  }

  refusal(id, detail) {
    const item = this.outgoing.find((one) => one.id === id);
    const forget = () => {
      this.outgoing = this.outgoing.filter((one) => one !== item);
      this.draw();
    };
    const edit = () => {
      forget();
      this.insert(item.text);
      if (item.file) this.pick([item.file]);
    };
    return element("div", { className: "refusal", role: "alert" }, [
      element("span", {}, [`${this.page.text("not_sent")}. ${detail}`]),
      item.kind !== "button" &&
        element("button", { type: "button", className: "link", onclick: edit }, [this.page.text("edit_again")]),
      element("button", { type: "button", className: "link", onclick: forget }, [this.page.text("dismiss")]),
    ]);
  }

  typing() {
    const label = element("span", { className: "only-read" }, [this.page.text("typing")]);
    return element("div", { className: "message bot typing" }, [
      element("div", { className: "bubble" }, [label, ...[1, 2, 3].map(() => element("i", { "aria-hidden": "true" }))]),
    ]);
  }

  daySeparator(at) {
    const midnight = (moment) => new Date(moment).setHours(0, 0, 0, 0);
    const days = Math.round((midnight(Date.now()) - midnight(at)) / 86_400_000);
    const words = { 0: this.page.text("today"), 1: this.page.text("yesterday") }[days];
    return element("p", { className: "day" }, [words ?? this.page.moment(at, { day: "numeric", month: "long" })]);
  }

  drawPicked() {
    const list = document.getElementById("picked");
    list.hidden = !this.picked.length;
    list.replaceChildren(
      ...this.picked.map((photo) => {
        const name = photo.file.name;
        const drop = () => {
          this.picked = this.picked.filter((one) => one !== photo);
          this.drawPicked();
        };
        return element("li", {}, [
          element("img", { src: photo.preview, alt: name }),
          element("button", { type: "button", title: this.page.text("chat_photo_remove", { name }), onclick: drop }, ["×"]),
        ]);
      }),
    );
  }

  atEnd() {
    this.stayed = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    return this.stayed;
  }

  scrollDown() {
    this.stayed = true;
    this.log.scrollTop = this.log.scrollHeight;
    this.newBelow.hidden = true;
  }
}

function restoredQueue() {
  try {
    return JSON.parse(remembered("outgoing") ?? "[]").map((item) => ({ ...item, state: "queued" }));
  } catch {
    return [];
  }
}
