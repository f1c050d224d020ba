// Two mail programs: the agents' mailbox and that of one example customer.

import { element, icon, remember, remembered, repeat, uuid, withLinks } from "./dom.js";

const POLL_MS = 1500;
const POLL_HIDDEN_MS = 10_000;
const POLL_AWAY_MS = 3000;
const TIMEOUT_MS = 20_000;

const OUR_PAGE = { "X-Demo": "1" };

const CLIP = "M16.5 6.5v9a4.5 4.5 0 0 1-9 0V6a3 3 0 0 1 6 0v9a1.5 1.5 0 0 1-3 0V7";
const SHEET = "M7 3.5h7l4 4v13H7zM14 3.5v4h4M10 12h5M10 15.5h5";

const addressOf = (address, id) => `/demo/letters/${encodeURIComponent(address)}/${id}`;

/** "Анна <a@b.example>" -> "Анна"; an address without a name stays as it is. */
const shortName = (from) => from.replace(/\s*<[^>]*>/, "").replace(/^"(.*)"$/, "$1") || from.replace(/[<>]/g, "");

export class Mail {
  constructor(page) {
    this.page = page;
    this.customers = [];
    this.agents = new Mailbox(page, document.getElementById("agents"), () => this.ask());
    this.customer = new Mailbox(page, document.getElementById("customer"), () => this.ask());
    this.agents.show({ address: page.agents.address, unread: 0, letters: [] });
    const own = page.customers.find(({ language }) => language === page.language) ?? page.customers[0];
    this.select = document.getElementById("customer-select");
    this.elsewhere = document.getElementById("elsewhere");
    this.chosen = remembered("customer") ?? own.addresses[0];
    this.select.onchange = () => this.choose(this.select.value);
    this.seen = null;
    document.querySelector("#agents .address").textContent = page.agents.address;
  }

  start() {
    this.ask = repeat(() => this.fetchMailboxes());
  }

  async fetchMailboxes() {
    try {
      const answer = await fetch("/demo/mailboxes", { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const { agents, customers } = await answer.json();
      this.page.serverAnswers("mail", true);
      this.customers = customers;
      this.agents.show(agents);
      this.page.showCount("agents", agents.unread);
      this.noticeElsewhere();
      this.showCustomer();
      return document.hidden ? POLL_HIDDEN_MS : POLL_MS;
    } catch {
      this.page.serverAnswers("mail", false);
      return POLL_AWAY_MS;
    }
  }

  /** Show the mailbox of another example customer. */
  choose(address) {
    if (!this.customers.some((mailbox) => mailbox.address === address)) return;
    this.chosen = address;
    remember("customer", address);
    this.showCustomer();
  }

  showCustomer() {
    const mailbox = this.customers.find(({ address }) => address === this.chosen) ?? this.customers[0];
    this.chosen = mailbox.address;
    this.drawSelect();
    this.customer.show(mailbox);
    this.page.showCount("customer", this.customers.reduce((sum, { unread }) => sum + unread, 0), mailbox.unread);
    if (this.elsewhere.dataset.address === this.chosen) this.elsewhere.hidden = true;
  }

  drawSelect() {
    const words = this.customers.map(({ name, address, unread }) => `${name} · ${address}${unread ? ` (${unread})` : ""}`);
    const options = [...this.select.options];
    // An open list of choices must not be rebuilt under the hand of the person who is choosing.
    if (options.length === words.length && options.every((option, place) => option.text === words[place])) {
      this.select.value = this.chosen;
      return;
    }
    this.select.replaceChildren(
      ...this.customers.map(({ address }, place) => element("option", { value: address }, [words[place]])),
    );
    this.select.value = this.chosen;
  }

  /** A letter for a customer whose mailbox is not on show: say so and offer to go there. */
  noticeElsewhere() {
    const all = this.customers.flatMap((mailbox) => mailbox.letters.map(({ id }) => [`${mailbox.address} ${id}`, mailbox]));
    const arrived = this.seen ? all.find(([key, { address }]) => !this.seen.has(key) && address !== this.chosen) : null;
    this.seen = new Set(all.map(([key]) => key));
    if (!arrived) return;
    const { name, address } = arrived[1];
    this.elsewhere.textContent = this.page.text("new_letter_elsewhere", { name, address });
    this.elsewhere.dataset.address = address;
    this.elsewhere.hidden = false;
    this.elsewhere.onclick = () => this.choose(address);
  }

  redraw() {
    this.elsewhere.hidden = true;
    this.agents.redraw();
    this.customer.redraw();
  }
}

/** One mailbox in its panel: the list of letters, or the letter that is open. */
class Mailbox {
  constructor(page, panel, refresh) {
    this.page = page;
    this.panel = panel;
    this.body = panel.querySelector(".mail-body");
    this.refresh = refresh;
    this.mailbox = null;
    this.opened = null;
    this.drafts = new Map();
    this.listed = "";
  }

  show(mailbox) {
    if (this.mailbox?.address !== mailbox.address) this.opened = null;
    this.mailbox = mailbox;
    if (!this.opened) this.drawList();
  }

  redraw() {
    this.listed = "";
    if (this.opened) this.drawLetter();
    else this.drawList();
  }

  drawList() {
    if (!this.mailbox) return;
    const { address, letters } = this.mailbox;
    // Redrawing what has not changed would take the focus away.
    const state = JSON.stringify([address, letters, this.page.language]);
    if (state === this.listed) return;
    this.listed = state;
    const focused = this.body.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    this.body.replaceChildren(
      letters.length
        ? element("ul", { className: "letters", "aria-label": this.page.text("letters"), "aria-live": "polite" }, letters.map((letter) => this.row(letter)))
        : element("p", { className: "empty" }, [this.page.text(`${this.panel.id}_empty`)]),
    );
    if (focused) this.body.querySelector(`[data-id="${CSS.escape(focused)}"]`)?.focus();
  }

  row(letter) {
    const { page } = this;
    return element("li", {}, [
      element(
        "button",
        {
          type: "button",
          className: `row ${letter.unread ? "unread" : ""}`,
          "data-testid": "letter-row",
          "data-id": letter.id,
          onclick: () => this.open(letter.id),
        },
        [
          element("span", { className: "dot" }, [letter.unread && element("span", { className: "only-read" }, [page.text("unread")])]),
          element("span", { className: "who" }, [
            letter.answered && element("span", { className: "mark", title: page.text("answered") }, ["↩ "]),
            shortName(letter.from),
          ]),
          element("time", { dateTime: letter.at }, [this.when(letter.at)]),
          element("span", { className: "what" }, [letter.subject || page.text("no_subject")]),
          element("span", { className: "snippet" }, [letter.snippet]),
          letter.attachments > 0 &&
            element("span", { className: "clip", title: page.text("attachments_count", { count: letter.attachments }) }, [icon(CLIP), letter.attachments]),
        ],
      ),
    ]);
  }

  when(at) {
    const today = new Date(at).toDateString() === new Date().toDateString();
    return this.page.moment(at, today ? { hour: "2-digit", minute: "2-digit" } : { day: "numeric", month: "short" });
  }

  async open(id) {
    const { address } = this.mailbox;
    try {
      const answer = await fetch(addressOf(address, id), { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const letter = await answer.json();
      if (this.mailbox.address !== address) return;
      this.opened = letter;
    } catch {
      this.body.prepend(element("p", { className: "problem", role: "alert" }, [this.page.text("letter_away")]));
      this.listed = "";
      return;
    }
    this.asText = this.opened.html === null;
    this.replying = this.drafts.has(id);
    this.said = "";
    this.drawLetter();
    this.body.querySelector(".back").focus({ preventScroll: true });
    this.body.scrollTop = 0;
    if (this.opened.unread) {
      await fetch(`${addressOf(address, id)}/read`, { method: "POST", headers: OUR_PAGE }).catch(() => null);
      this.refresh();
    }
  }

  close() {
    const { id } = this.opened;
    this.opened = null;
    this.listed = "";
    this.drawList();
    this.body.querySelector(`[data-id="${id}"]`)?.focus();
  }

  drawLetter() {
    const { page, opened: letter } = this;
    const bar = element("div", { className: "letter-bar" }, [
      element("button", { type: "button", className: "quiet back", onclick: () => this.close() }, [`← ${page.text("back")}`]),
      letter.html !== null && this.viewSwitch(),
    ]);
    this.bodyPlace = element("div", { className: "body-place" });
    this.replyPlace = element("div", { className: "reply-place" });
    const view = element("article", { className: "letter", "data-testid": "letter-view" }, [
      bar,
      element("h3", { "data-testid": "letter-subject" }, [letter.subject || page.text("no_subject")]),
      this.headers(),
      this.allHeaders(),
      letter.remote_images > 0 && element("p", { className: "hint" }, [page.text("remote_images")]),
      this.bodyPlace,
      letter.files.length > 0 && this.files(),
      this.replyPlace,
    ]);
    this.body.replaceChildren(view);
    this.drawBody();
    this.drawReply();
  }

  viewSwitch() {
    const choose = (asText) => () => {
      this.asText = asText;
      this.drawLetter();
    };
    const button = (key, asText) =>
      element("button", { type: "button", "aria-pressed": String(this.asText === asText), onclick: choose(asText) }, [this.page.text(key)]);
    return element("div", { className: "switch", role: "group", "aria-label": this.page.text("view_as") }, [
      button("view_html", false),
      button("view_text", true),
    ]);
  }

  headers() {
    const { page, opened: letter } = this;
    const date = letter.date && page.moment(letter.date, { dateStyle: "long", timeStyle: "short" });
    const shown = [
      ["from", letter.from],
      ["to", letter.to],
      ["cc", letter.cc],
      ["reply_to", letter.reply_to],
      ["date", date],
    ];
    return element("dl", { className: "headers" }, shown.filter(([, value]) => value).flatMap(([key, value]) => [
      element("dt", {}, [page.text(key)]),
      element("dd", {}, [value]),
    ]));
  }

  allHeaders() {
    return element("details", { className: "all-headers" }, [
      element("summary", {}, [this.page.text("all_headers")]),
      element("pre", { tabIndex: 0 }, [this.opened.headers.map(([name, value]) => `${name}: ${value}`).join("\n")]),
    ]);
  }

  /** The letter in a frame without scripts; it shares our origin only so that we can give it its height. */
  drawBody() {
    const { opened: letter } = this;
    const content = this.asText
      ? element("div", { className: "plain" }, withLinks(letter.text)).outerHTML
      : letter.html;
    const frame = element("iframe", {
      "data-testid": "letter-body",
      title: this.page.text("letter_body"),
      sandbox: "allow-same-origin allow-popups allow-popups-to-escape-sandbox",
      srcdoc: `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="/demo/static/letter.css"><body>${content}`,
    });
    frame.onload = () => {
      const fit = () => {
        const root = frame.contentDocument?.documentElement;
        if (root) frame.style.height = `${Math.max(root.firstElementChild ? root.querySelector("body").scrollHeight : 0, 60)}px`;
      };
      fit();
      for (const image of frame.contentDocument.images) image.onload = fit;
      new ResizeObserver(fit).observe(frame);
    };
    this.bodyPlace.replaceChildren(frame);
  }

  files() {
    const size = (bytes) => (bytes < 1_000_000 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`);
    return element("section", { className: "files", "aria-label": this.page.text("attachments") }, [
      element("h4", {}, [this.page.text("attachments")]),
      element("ul", {}, this.opened.files.map((file) =>
        element("li", {}, [
          element("a", { href: file.url, target: file.image ? "_blank" : "", download: file.image ? undefined : file.name }, [
            file.image ? element("img", { src: file.url, alt: "" }) : element("span", { className: "sheet", "aria-hidden": "true" }, [icon(SHEET)]),
            element("span", {}, [file.name, element("small", {}, [size(file.bytes)])]),
          ]),
        ]),
      )),
    ]);
  }

  // Replying -----------------------------------------------------------------------------------------------------

  drawReply() {
    const { page, opened: letter } = this;
    const said = element("p", { className: `said ${this.failed ? "problem" : ""}`, role: "status" }, [this.said ?? ""]);
    if (!this.replying) {
      const begin = () => {
        this.replying = true;
        this.said = "";
        this.drawReply();
        this.replyPlace.querySelector("textarea").focus();
        this.replyPlace.scrollIntoView({ block: "nearest" });
      };
      this.replyPlace.replaceChildren(
        element("button", { type: "button", className: "primary", "data-testid": "reply-button", onclick: begin }, [`↩ ${page.text("reply")}`]),
        said,
      );
      return;
    }
    // The id stays with the draft: a reply that is sent twice has one Message-ID and arrives once.
    const draft = this.drafts.get(letter.id) ?? { id: uuid(), text: "", name: this.suggestedName() };
    const text = element("textarea", {
      rows: 5,
      maxLength: 100_000,
      value: draft.text,
      "data-testid": "reply-text",
      "aria-label": page.text("reply_text"),
      placeholder: page.text("reply_text"),
      oninput: () => this.drafts.set(letter.id, Object.assign(draft, { text: text.value })),
    });
    const cancel = () => {
      this.drafts.delete(letter.id);
      this.replying = false;
      this.said = "";
      this.drawReply();
    };
    const send = element("button", { type: "submit", className: "primary", "data-testid": "reply-send" }, [page.text("reply_send")]);
    const form = element("form", { className: "reply" }, [
      element("p", { className: "to" }, [`${page.text("to")}: ${letter.reply_to || letter.from}`]),
      this.panel.id === "agents" && this.nameChoice(draft),
      text,
      element("div", { className: "reply-row" }, [
        send,
        element("button", { type: "button", className: "quiet", onclick: cancel }, [page.text("reply_cancel")]),
      ]),
      said,
    ]);
    form.onsubmit = (event) => {
      event.preventDefault();
      send.disabled = true;
      send.textContent = page.text("reply_sending");
      this.send(letter, { ...draft, text: text.value });
    };
    this.replyPlace.replaceChildren(form);
  }

  suggestedName() {
    const names = this.page.agents.names.map((agent) => agent[this.page.language]);
    // The letter may name the agent whom the customer was promised.
    return names.find((name) => this.opened.text.includes(name)) ?? names[0];
  }

  nameChoice(draft) {
    const names = this.page.agents.names.map((agent) => agent[this.page.language]);
    const select = element("select", { onchange: () => (draft.name = select.value) }, names.map((name) => element("option", {}, [name])));
    select.value = names.includes(draft.name) ? draft.name : names[0];
    draft.name = select.value;
    return element("label", { className: "reply-as" }, [`${this.page.text("reply_as")} `, select]);
  }

  async send(letter, { id, text, name }) {
    const { page } = this;
    let failure = null;
    let to = "";
    try {
      const answer = await fetch(`${addressOf(this.mailbox.address, letter.id)}/reply`, {
        method: "POST",
        headers: { "Content-Type": "application/json", ...OUR_PAGE },
        body: JSON.stringify({ id, text, name, language: page.language }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const said = await answer.json().catch(() => ({}));
      if (answer.ok) to = said.to;
      else failure = typeof said.detail === "string" ? said.detail : page.text("reply_refused");
    } catch {
      failure = page.text("reply_away");
    }
    if (!failure) this.drafts.delete(letter.id);
    else this.drafts.set(letter.id, { id, text, name });
    this.refresh();
    if (this.opened?.id !== letter.id) return;
    this.failed = Boolean(failure);
    this.said = failure ?? page.text("reply_sent", { to });
    this.replying = Boolean(failure);
    this.drawReply();
    this.replyPlace.querySelector(failure ? "textarea" : "button").focus({ preventScroll: true });
  }
}
