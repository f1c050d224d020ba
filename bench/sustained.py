"""Measures the whole way, from a messenger through inbox, engine and outbox back to it, under a load that lasts.

    python -m bench.sustained [--seconds 60] [--telegram 28] [--vk 22]

The service runs as an operator runs it, with its own engine, durable settings and the mail server set; both fake
messengers keep strictly to the real limits. They and the customers are this process, whose time of the two cores is
given beside that of the service and the engine. A message's time runs from when it was to be sent, whether the one
before it was answered or not. Customers ask, chat, and open cases: number, address, a yes, sometimes a photo.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.bookkeeping import Sent, Verdict, judge
from bench.crowd import Step, plan
from bench.customers import Crowd, fill_crm, heard, outdated, still_waiting, written
from bench.figures import Figures, percentile, show, tell
from bench.mail_sink import MailSink
from bench.messengers import Scene
from bench.processes import Watch, cpu_share, peak_mb
from tests.system.running import AGENTS, Running

#: Telegram lets out 30 answers a second, where an album of photos has one answer; VK takes 20 calls, each of up to 25.
TELEGRAM_PER_S, VK_PER_S = 28.0, 22.0
SECONDS = 600.0

#: Before the clock runs: the engine's first turns load what later ones find loaded.
WARM_UP_S, WARM_UP_SHARE = 20.0, 0.3

#: How long answers are waited for after the last message; what has not come then counts as unanswered.
PATIENCE_S = 60.0

#: One point of the plot.
BUCKET_S = 10.0


def measure(telegram_per_s: float, vk_per_s: float, seconds: float) -> Figures:
    """Run the load; everything that a reader of the figures has to know."""
    rates = {"telegram": telegram_per_s, "vk": vk_per_s}
    steps = plan(rates, seconds)
    warm_up = plan({channel: WARM_UP_SHARE * rate for channel, rate in rates.items()}, WARM_UP_S, first=10**6, seed=2)
    with (
        tempfile.TemporaryDirectory() as folder,
        MailSink() as mail,
        Scene(Path(folder), None, SMTP_URL=mail.url) as scene,
    ):
        service = scene.service
        fill_crm(service, Path(folder), sorted({step.person for step in steps}, key=lambda one: one.number))
        tell(f"warming up, then {len(steps)} messages in {seconds:.0f} s")
        early, crowd = Crowd(scene), Crowd(scene)
        early.act(warm_up)
        _wait_for_rest(service, len(warm_up))
        refused, letters = scene.telegram.refused + scene.vk.refused, len(mail.letters)

        pids = {"service": _service_pid(service), "engine": service.engine() or 0, "bench": os.getpid()}
        watch = Watch(pids)
        clock = time.time() - time.monotonic()
        watch.start()
        crowd.act(steps)
        watch.stop()
        lasted = crowd.sent[-1].left - crowd.sent[0].due
        _wait_for_rest(service, len(warm_up) + len(steps))
        _wait_for(lambda: not service.rows("SELECT 1 FROM letter_out WHERE state IN ('waiting', 'sending')"))

        engine_mb = peak_mb(pids["engine"])
        service.end()  # what is on its way arrives and is written down: from now on nothing changes

        verdict = judge(
            early.sent + crowd.sent, heard(scene), written(service), still_waiting(service), outdated(scene)
        )
        measured = dict.fromkeys(one.key for one in crowd.sent)
        times = [verdict.seconds[key] for key in measured if key in verdict.seconds]
        begun = watch.samples["bench"][0].at
        return {
            "sustained_msgs_per_s": round(len(crowd.sent) / lasted, 1),
            "sustained_seconds": round(lasted, 1),
            "sustained_telegram_per_s": telegram_per_s,
            "sustained_vk_per_s": vk_per_s,
            "sustained_messages": len(crowd.sent),
            "sustained_answers": len(times),
            "sustained_customers": len({one.sender_id for one in crowd.sent}),
            "sustained_new_texts": _new_texts(steps),
            "sustained_p50_s": _rounded(percentile(times, 50)),
            "sustained_p95_s": _rounded(percentile(times, 95)),
            "sustained_p99_s": _rounded(percentile(times, 99)),
            "sustained_longest_s": _rounded(max(times, default=None)),
            "sustained_late_p99_s": _rounded(percentile([one.left - one.due for one in crowd.sent], 99)),
            "lost": len(verdict.lost),
            "unanswered": len(verdict.waiting),
            "outdated_presses": len(verdict.outdated),
            "doubled": len(verdict.doubled) + len(verdict.unexplained),
            "notices": verdict.notices,
            "refused_by_rate": scene.telegram.refused + scene.vk.refused - refused,
            "violations": len(scene.telegram.violations) + len(scene.vk.violations),
            "engine_rss_mb": _whole(engine_mb),
            "sustained_memory_mb": {name: _memory(watch, name) for name in pids},
            "sustained_cores": {name: cpu_share(watch.samples[name]) for name in pids},
            "sustained_series": _series(crowd.sent, verdict, watch, begun),
            **_cases(service, crowd.sent, mail, letters, clock),
        }


def _cases(service: Running, sent: Sequence[Sent], mail: MailSink, before: int, clock: float) -> Figures:
    """From a case's last message, the yes, to its ticket and to the agents' letter; `clock` is wall less monotonic."""
    arrived = {one.ticket: one.at for one in reversed(mail.letters[before:]) if one.to == AGENTS}
    messages: dict[str, list[float]] = {}
    for one in sent:
        messages.setdefault(one.sender_id, []).append(one.due)
    to_ticket, to_letter = [], []
    for number, sender_id, opened in service.rows("SELECT number, sender_id, opened_at FROM ticket"):
        opened_at = datetime.fromisoformat(opened).replace(tzinfo=UTC).timestamp() - clock
        asked = [due for due in messages.get(sender_id, ()) if due <= opened_at]
        if asked:
            to_ticket.append(opened_at - asked[-1])
            if str(number) in arrived:
                to_letter.append(arrived[str(number)] - asked[-1])
    return {
        "sustained_tickets": len(to_ticket),
        "sustained_letters": len(mail.letters) - before,
        "sustained_letters_doubled": len(mail.letters) - len({(one.to, one.message_id) for one in mail.letters}),
        "ticket_p50_s": _rounded(percentile(to_ticket, 50)),
        "ticket_p95_s": _rounded(percentile(to_ticket, 95)),
        "letter_p50_s": _rounded(percentile(to_letter, 50)),
        "letter_p95_s": _rounded(percentile(to_letter, 95)),
    }


def _series(sent: Sequence[Sent], verdict: Verdict, watch: Watch, begun: float) -> list[Figures]:
    """What the plot shows: every ten seconds the waits of the messages of that time, and the memory at its end."""
    waits: dict[int, list[float]] = {}
    for one in sent:
        if one.key in verdict.seconds:
            waits.setdefault(int((one.due - begun) // BUCKET_S), []).append(verdict.seconds[one.key])
    series = []
    for place, times in sorted(waits.items()):
        end = begun + (place + 1) * BUCKET_S
        memory = {
            f"{name}_mb": round(next((s.rss_mb for s in reversed(samples) if s.at <= end), samples[0].rss_mb))
            for name, samples in watch.samples.items()
            if samples
        }
        series.append(
            {"at_s": (place + 1) * BUCKET_S, "p50_s": _rounded(percentile(times, 50)),
             "p95_s": _rounded(percentile(times, 95)), **memory}
        )  # fmt: skip
    return series


def _memory(watch: Watch, name: str) -> list[int]:
    """At the start, in the middle and at the end."""
    samples = watch.samples[name]
    return [round(samples[place].rss_mb) for place in (0, len(samples) // 2, -1)] if samples else []


def _new_texts(steps: Sequence[Step]) -> float:
    """The share of texts that nobody had written before."""
    texts = [step.text for step in steps if step.act == "text"]
    return round(len(set(texts)) / len(texts), 2)


def _wait_for_rest(service: Running, messages: int) -> None:
    """Until so many messages have been taken in, and nothing waits to be answered or sent."""
    taken = "SELECT count(*) FROM inbox"
    waits = "SELECT 1 FROM inbox WHERE state = 'waiting' UNION ALL SELECT 1 FROM outbox WHERE state = 'waiting'"
    _wait_for(lambda: service.rows(taken)[0][0] >= messages and not service.rows(waits))


def _wait_for(over: Callable[[], bool]) -> None:
    """Until something is over, but no longer than customers wait: what is missing then shows in the figures."""
    deadline = time.monotonic() + PATIENCE_S
    while not over() and time.monotonic() < deadline:
        time.sleep(0.2)


def _service_pid(service: Running) -> int:
    return next(pid for pid, command in service.processes().items() if "bot.engine.serve" not in command)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--telegram", type=float, default=TELEGRAM_PER_S, help="messages a second")
    parser.add_argument("--vk", type=float, default=VK_PER_S, help="messages a second")
    options = parser.parse_args()
    show(measure(options.telegram, options.vk, options.seconds))
