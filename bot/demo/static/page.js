// The page around the chat and the mailboxes: language, tabs, guide, banner.

import { Chat } from "./chat.js";
import { Mail } from "./mail.js";
import { element, remembered, remember } from "./dom.js";

const page = {
  language: "en",
  texts: {},
  shop: "",

  /** A text in the page's language, with its {places} filled in. */
  text(key, values = {}) {
    const said = this.texts[this.language]?.[key] ?? key;
    return said.replace(/\{(\w+)\}/g, (place, name) => ({ shop: this.shop, ...values })[name] ?? place);
  },

  /** A date like "2026-12-02" or a moment, formatted as the page's language does it. */
  moment(value, options) {
    return new Intl.DateTimeFormat(this.language === "ru" ? "ru-RU" : "en-GB", options).format(new Date(value));
  },
};

const awayParts = new Set();
let keptMessage = false;

/** Show or hide the banner; a part of the page says whether the server answers it. */
page.serverAnswers = (part, answers, kept = false) => {
  if (answers) awayParts.delete(part);
  else awayParts.add(part);
  if (part === "chat") keptMessage = kept && !answers;
  showBanner();
};

function showBanner() {
  const banner = document.getElementById("banner");
  const words = awayParts.size ? page.text(keptMessage ? "banner_away_kept" : "banner_away") : "";
  if (banner.textContent !== words) banner.textContent = words;
  banner.hidden = !words;
}

/** Show how much is unread: on the tab of a section, and beside its title. */
page.showCount = (panel, onTab, besideTitle = onTab) => {
  const counts = { [`#tab-${panel} .count`]: onTab, [`#${panel} .panel-head .count`]: besideTitle };
  for (const [place, count] of Object.entries(counts)) {
    const badge = document.querySelector(place);
    if (!badge) continue;
    badge.hidden = !count;
    badge.textContent = count || "";
    badge.title = count ? page.text("unread_count", { count }) : "";
  }
};

page.showTab = (name) => {
  document.body.dataset.tab = name;
  for (const tab of document.querySelectorAll(".tabs [role=tab]")) {
    const chosen = tab.dataset.tab === name;
    tab.setAttribute("aria-selected", String(chosen));
    tab.tabIndex = chosen ? 0 : -1;
  }
  page.chat?.shown();
};

page.isShown = (panel) => document.getElementById(panel).offsetParent !== null;

function setLanguage(language) {
  page.language = language;
  remember("language", language);
  document.documentElement.lang = language;
  document.title = page.text("page_title");
  const filled = { text: "textContent", placeholder: "placeholder", title: "title" };
  for (const [name, property] of Object.entries(filled)) {
    for (const node of document.querySelectorAll(`[data-${name}]`)) node[property] = page.text(node.dataset[name]);
  }
  for (const node of document.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", page.text(node.dataset.label));
  }
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
  showGuide();
  showBanner();
  page.chat.redraw();
  page.mail.redraw();
}

function showGuide() {
  const chip = (what, note, toChat) =>
    element("button", { type: "button", className: "chip", title: page.text("insert", { what }), onclick: toChat }, [
      element("b", {}, [what]),
      note && element("span", {}, [note]),
    ]);
  // The customers who speak the page's language come first.
  const customers = [...page.customers].sort((a, b) => (b.language === page.language) - (a.language === page.language));
  document.getElementById("examples").replaceChildren(
    ...customers.map((customer) =>
      element("li", { lang: customer.language }, [
        element("strong", {}, [customer.name]),
        ...customer.addresses.map((address) =>
          chip(address, "", () => {
            page.mail.choose(address);
            intoChat(address);
          }),
        ),
        ...customer.orders.map((order) =>
          chip(order.number, orderNote(order), () => {
            page.mail.choose(customer.addresses[0]);
            intoChat(order.number);
          }),
        ),
      ]),
    ),
  );
  document.getElementById("things").replaceChildren(
    ...["try_question", "try_case", "try_answer", "try_back", "try_photo"].map((key) => {
      const example = page.texts[page.language][`${key}_text`];
      return element("li", {}, [
        `${page.text(key)} `,
        example &&
          element("button", { type: "button", className: "link", onclick: () => intoChat(example) }, [page.text("quote", { words: example })]),
      ]);
    }),
  );
}

function orderNote(order) {
  const status = page.text(`status_${order.status}`);
  if (!order.promised_on || order.status === "delivered") return status;
  const date = page.moment(`${order.promised_on}T12:00`, { day: "numeric", month: "short" });
  return `${status}, ${page.text("due", { date })}`;
}

function intoChat(words) {
  page.showTab("chat");
  page.chat.insert(words);
}

function wireTabs() {
  const tabs = [...document.querySelectorAll(".tabs [role=tab]")];
  tabs.forEach((tab, place) => {
    tab.onclick = () => page.showTab(tab.dataset.tab);
    tab.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = tabs[(place + step + tabs.length) % tabs.length];
      page.showTab(next.dataset.tab);
      next.focus();
    };
  });
}

/** The page's words and examples; a server that is still starting is asked again. */
async function fetchPage() {
  for (;;) {
    try {
      const answer = await fetch("/demo/page");
      if (answer.ok) return await answer.json();
    } catch {
      // Away: asked again below.
    }
    const banner = document.getElementById("banner");
    banner.textContent = "Сервер не отвечает. Пробуем снова сами. / The server does not answer. Trying again by itself.";
    banner.hidden = false;
    await new Promise((done) => setTimeout(done, 1500));
  }
}

const { texts, shop, agents, customers } = await fetchPage();
Object.assign(page, { texts, shop, agents, customers });
const spoken = remembered("language") ?? (/^(ru|uk|be|kk)\b/i.test(navigator.language) ? "ru" : "en");
page.language = spoken === "ru" ? "ru" : "en";
page.chat = new Chat(page);
page.mail = new Mail(page);

const guide = document.getElementById("guide");
guide.open = remembered("guide") ? remembered("guide") === "open" : matchMedia("(min-width: 1100px) and (min-height: 780px)").matches;
guide.ontoggle = () => remember("guide", guide.open ? "open" : "closed");
for (const button of document.querySelectorAll("[data-language]")) {
  button.onclick = () => setLanguage(button.dataset.language);
}
wireTabs();
setLanguage(page.language);
page.showTab("chat");
page.chat.start();
page.mail.start();
