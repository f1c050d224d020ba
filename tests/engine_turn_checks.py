"""Checks of what makes a turn quick: plan, trackers, copies. Run by tests.engine_run on the engine's own Python."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import json
import random
import re
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import rasa.__main__
import rasa.utils.common
import sqlalchemy as sa
from rasa.core.actions.action import RemoteAction
from rasa.core.agent import Agent
from rasa.core.channels.channel import CollectingOutputChannel, UserMessage
from rasa.core.channels.rest import RestInput
from rasa.core.lock_store import LockStore, RedisLockStore
from rasa.core.policies.rule_policy import RulePolicy
from rasa.core.processor import MessageProcessor
from rasa.core.run import create_http_input_channels
from rasa.core.tracker_store import FailSafeTrackerStore, SQLTrackerStore
from rasa.engine.runner.dask import DaskGraphRunner
from rasa.shared.core.domain import Domain
from rasa.shared.core.events import (
    ActionExecuted,
    ActionExecutionRejected,
    ActiveLoop,
    BotUttered,
    Event,
    LoopInterrupted,
    Restarted,
    SessionStarted,
    SlotSet,
    UserUttered,
)  # fmt: skip
from rasa.shared.core.trackers import DialogueStateTracker
from rasa.shared.utils.common import all_subclasses
from rasa.utils.endpoints import EndpointConfig

from bot.engine import debug_copies, recent_states, short_calls, trackers
from bot.engine.answers import Answers
from bot.engine.channel import Channel
from bot.engine.empty_domain import remember_emptiness
from bot.engine.event_types import remember_types
from bot.engine.kept_connections import keep_connections
from bot.engine.plan import plan_once
from bot.engine.rule_index import look_at_likely_rules
from bot.engine.tracker_copy import copy_state
from bot.engine.trackers import LiveTrackers, PlayedElsewhere, fail_loudly
from bot.engine.turn_times import begin_turn, server_timing, time_parsing
from bot.engine.whole_turns import fail_as_a_whole
from tests.engine_checks import MODEL, domain

SENDER = "web:turns"

TURNS = (
    "привет",
    "как снять мерки?",
    "a сколько стоит доставка",
    "how do I wash them?",
    "как снять мерки?",
    "qwrt zxpl",
)


#: What makes a turn quick and changes nothing else, and what of Rasa's it replaces.
QUICKER = (
    plan_once, copy_state, recent_states.look_back_only_so_far, look_at_likely_rules, remember_types,
    remember_emptiness, debug_copies.copy_nothing_for_debug,
)  # fmt: skip
REPLACED = (
    (DaskGraphRunner, "run"), (DialogueStateTracker, "copy"), (DialogueStateTracker, "past_states"),
    (RulePolicy, "_get_possible_keys"), (Event, "resolve_by_type"), (Domain, "is_empty"),
    *((module, "copy") for module in debug_copies.MODULES),
)  # fmt: skip


@contextlib.contextmanager
def quickened() -> Iterator[None]:
    """Our ways in Rasa's place, and Rasa's own again afterwards."""
    rasas = [vars(owner)[name] for owner, name in REPLACED]
    for change_rasa in QUICKER:
        change_rasa()
    try:
        yield
    finally:
        for (owner, name), own in zip(REPLACED, rasas, strict=True):
            setattr(owner, name, own)


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Turns fail as a whole, and as Rasa's own afterwards."""
    run_action, handle_message = MessageProcessor._run_action, MessageProcessor.handle_message
    fail_as_a_whole()
    try:
        yield
    finally:
        MessageProcessor._run_action, MessageProcessor.handle_message = run_action, handle_message


@contextlib.contextmanager
def store() -> Iterator[LiveTrackers]:
    with tempfile.TemporaryDirectory() as folder:
        yield opened(Path(folder) / "trackers.db")


def opened(path: Path) -> LiveTrackers:
    """A store on a file, as another process or the next start has it."""
    return LiveTrackers(domain(), db=str(path))


def again(live: LiveTrackers) -> LiveTrackers:
    return opened(Path(str(live.engine.url.database)))


def read(live: LiveTrackers, sender_id: str = SENDER) -> DialogueStateTracker | None:
    return asyncio.run(live.retrieve(sender_id))


def spoken(live: LiveTrackers, *texts: str) -> DialogueStateTracker:
    """A conversation with these messages, each turn saved as Rasa does."""
    for text in texts:
        tracker = asyncio.run(live.get_or_create_tracker(SENDER, append_action_listen=False))
        if not tracker.events:
            tracker.update_with_events([ActionExecuted("action_session_start"), SessionStarted()], domain())
        tracker.update_with_events(
            [ActionExecuted("action_listen"), UserUttered(text), BotUttered(f"{text}!")], domain()
        )
        asyncio.run(live.save(tracker))
    return tracker


def texts(tracker: DialogueStateTracker | None) -> list[str]:
    return [e.text for e in tracker.events if isinstance(e, UserUttered)] if tracker else []


def rows(live: LiveTrackers) -> int:
    with live.engine.connect() as connection:
        return int(connection.execute(sa.text("SELECT count(*) FROM events")).scalar())


def conversation(store: Any) -> tuple[list[Any], list[dict[str, Any]]]:
    """What is said in some turns of a real conversation, and the events that are kept of it."""
    speaking = Agent.load(str(MODEL), generator=Answers(None, Domain.empty()), tracker_store=store)
    said = []
    for number, text in enumerate(TURNS):
        channel = CollectingOutputChannel()
        message = UserMessage(text, channel, SENDER, input_channel="web", metadata={"key": str(number)})
        asyncio.run(speaking.handle_message(message))
        said.append(channel.messages)
    events = [event.as_dict() for event in asyncio.run(speaking.tracker_store.retrieve(SENDER)).events]
    for event in events:
        event.pop("timestamp")
        for holder in (event, event.get("parse_data", {})):
            holder.pop("message_id", None)
    return said, events


def check_a_quick_turn_says_and_keeps_what_rasas_own_does() -> None:
    """A whole conversation with Rasa's ways and store, and with ours."""
    with tempfile.TemporaryDirectory() as folder:
        rasas = conversation(SQLTrackerStore(domain(), db=f"{folder}/rasas.db"))
        with quickened():
            ours = conversation(LiveTrackers(domain(), db=f"{folder}/ours.db"))

    assert all(rasas[0]), rasas[0]
    assert ours[0] == rasas[0]
    # What is read back begins with the session; a living tracker also has the action that began it.
    assert ours[1][-len(rasas[1]) :] == rasas[1]


def answers(speaking: Agent, text: str) -> list[str] | None:
    """What the REST channel would answer: what was collected, error or not; None if it was an error."""
    channel = CollectingOutputChannel()
    try:
        asyncio.run(speaking.handle_message(UserMessage(text, channel, SENDER, input_channel="web")))
    except Exception:  # noqa: BLE001 - as the channel does
        assert channel.messages == [], channel.messages
        return None
    return [message["text"] for message in channel.messages if "text" in message]


def check_an_action_is_told_what_it_reads() -> None:
    """All that was said and all about the latest message; no domain, which Rasa sends with each step of a form."""
    assert 'result["domain"] = domain.as_dict()' in inspect.getsource(RemoteAction._action_call_format)
    with store() as live:
        speaking = Agent.load(str(MODEL), generator=Answers(None, Domain.empty()), tracker_store=live)
        for text in ("как снять мерки?", "how do I wash them?"):
            asyncio.run(
                speaking.handle_message(UserMessage(text, CollectingOutputChannel(), SENDER, input_channel="web"))
            )
        tracker = read(live)
    call = short_calls._call(RemoteAction("validate_case_form", None), tracker, domain())

    told = call["tracker"]["events"]
    assert [event["text"] for event in told if event["event"] == "user"] == ["как снять мерки?", "how do I wash them?"]
    assert len([event for event in told if event["event"] == "bot"]) == 2
    assert all({"intent", "manner"} == set(event["parse_data"]) for event in told if event["event"] == "user")
    assert call["tracker"]["latest_message"]["response_selector"]
    assert len(json.dumps(call)) < 12_000


class Actions:
    """A server that keeps what it is sent, connection by connection; it hangs up instead of answering some calls."""

    def __init__(self, *hang_up_at: int) -> None:
        self.heard: list[list[bytes]] = []
        self._hang_up_at = hang_up_at

    async def __aenter__(self) -> EndpointConfig:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = {"username": "engine", "password": "secret"}
        url = f"http://127.0.0.1:{port}/webhook"
        return EndpointConfig(url, {"a": "b"}, {"X-From": "engine"}, login, token="t")

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(calls := [])
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                calls.append(head + await reader.readexactly(int(re.search(rb"Length: (\d+)", head).group(1))))
                if sum(map(len, self.heard)) in self._hang_up_at:
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()


async def calls(actions: Actions, number: int) -> list[list[bytes]]:
    """What the server of the actions hears on each connection, its port left out."""
    async with actions as endpoint:
        for text in range(number):
            assert await endpoint.request(json={"text": text}, method="post", timeout=9) == {}
    return [[re.sub(rb"127.0.0.1:\d+", b"", call) for call in heard] for heard in actions.heard]


def check_a_call_of_an_action_is_rasas_on_a_connection_that_is_kept() -> None:
    """Byte by byte; and one that met the other side's hanging up is made once more, on a connection of its own."""
    rasas, rasas_session = EndpointConfig.request, EndpointConfig.session
    assert "async with self.session() as session" in inspect.getsource(rasas)
    [one], [two], [three] = asyncio.run(calls(Actions(), 3))
    keep_connections()
    try:
        assert asyncio.run(calls(Actions(), 3)) == [[one, two, three]]
        assert asyncio.run(calls(Actions(2), 3)) == [[one, two], [two], [three]]

        async def gives_up() -> None:
            endpoint = EndpointConfig("http://127.0.0.1:9/webhook")
            async with endpoint.session() as ours, rasas_session(endpoint) as theirs:
                assert ours.timeout == theirs.timeout
            for broken, problem in ((2, aiohttp.ServerDisconnectedError), (0, aiohttp.ClientConnectorError)):
                actions = Actions(*range(1, broken + 1))
                async with actions as listening:
                    try:
                        await (listening if broken else endpoint).request(json={}, method="post")
                    except problem:
                        assert sum(map(len, actions.heard)) == broken
                        continue
                    raise AssertionError("nobody heard of it")

        asyncio.run(gives_up())
    finally:
        EndpointConfig.request, EndpointConfig.session = rasas, rasas_session


def check_rasa_still_passes_over_what_breaks() -> None:
    """What `fail_as_a_whole` is for: an action that broke is only logged, and an error is answered like a turn."""
    assert "the actions events are lost" in inspect.getsource(MessageProcessor._run_action)
    assert inspect.getsource(RestInput.blueprint).count("return response.json(collector.messages)") == 1


def check_a_turn_whose_action_broke_says_and_keeps_nothing() -> None:
    """Nobody listens where the actions are; what was said before is still there, and the next message is answered."""
    nowhere = EndpointConfig("http://127.0.0.1:9/webhook")
    with store() as live, whole():
        speaking = Agent.load(
            str(MODEL), generator=Answers(None, Domain.empty()), tracker_store=live, action_endpoint=nowhere
        )
        assert answers(speaking, "как снять мерки?")
        assert answers(speaking, "my jeans have come and they do not fit, I want to exchange them") is None
        assert texts(read(live)) == texts(read(again(live))) == ["как снять мерки?"]
        assert answers(speaking, "how do I wash them?")
        assert texts(read(live)) == ["как снять мерки?", "how do I wash them?"]


def check_a_turn_that_could_not_be_stored_says_nothing() -> None:
    """Its answer was collected before the tracker is stored."""
    with store() as live, whole():
        speaking = Agent.load(str(MODEL), generator=Answers(None, Domain.empty()), tracker_store=live)
        assert answers(speaking, "как снять мерки?")
        with live.engine.begin() as connection:
            full = (
                "CREATE TRIGGER disk BEFORE INSERT ON events BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END"
            )
            connection.execute(sa.text(full))
        fails = FailSafeTrackerStore.on_tracker_store_error
        fail_loudly()
        try:
            assert answers(speaking, "how do I wash them?") is None
        finally:
            FailSafeTrackerStore.on_tracker_store_error = fails


def check_a_turn_notes_where_its_tracker_was_and_how_long_it_parsed() -> None:
    """A stranger's is new, a living one in memory, and one from before the start in the table."""
    parse_message = MessageProcessor.parse_message
    time_parsing()
    try:
        with store() as live:
            for remembering, place in ((live, "new"), (live, "memory"), (again(live), "table")):
                speaking = Agent.load(str(MODEL), generator=Answers(None, Domain.empty()), tracker_store=remembering)
                begin_turn()
                message = UserMessage("hello", CollectingOutputChannel(), SENDER, input_channel="web")
                asyncio.run(speaking.handle_message(message))
                said = server_timing()
                assert re.fullmatch(rf"live;desc=\d+, tracker;desc={place}, parse;dur=\d+\.\d", said), said
    finally:
        MessageProcessor.parse_message = parse_message


def check_rasa_takes_our_channel_for_its_own() -> None:
    """Same address, one channel; the real request is in tests/system/test_one_message.py."""
    [channel] = create_http_input_channels(None, "credentials.yml")

    assert type(channel) is Channel
    assert channel.url_prefix() == "rest"


def check_rasa_still_sets_up_its_log_where_we_keep_it_from() -> None:
    """`bot.engine.log`: colours in one place, and sanic's loggers closed towards the root."""
    assert "rasa.utils.io.configure_colored_logging(log_level)" in inspect.getsource(rasa.__main__.main)
    assert "error_logger.propagate = False" in inspect.getsource(rasa.utils.common.update_sanic_log_level)


def check_rasa_still_copies_for_its_debug_log_alone() -> None:
    """What `copy_nothing_for_debug` replaces: no deep copy outside, and a level that is off copies all the same."""
    for module, copies in zip(debug_copies.MODULES, (6, 1, 3), strict=True):
        source = inspect.getsource(module)
        logged = [ast.unparse(line) for line in ast.walk(ast.parse(source)) if isinstance(line, ast.Call)]
        logged = [line for line in logged if line.startswith("structlogger.debug(")]
        assert sum(line.count("copy.deepcopy(") for line in logged) == copies, module
        assert len(re.findall(r"(?<![\w.])copy\b", source)) == copies + 1, module  # and its import


def check_a_domain_is_as_empty_as_rasa_says() -> None:
    rasas = Domain.is_empty
    assert "self.as_dict() == Domain.empty().as_dict()" in inspect.getsource(rasas)
    remember_emptiness()
    try:
        for one in (domain(), Domain.empty(), Domain.from_dict({}), Domain.from_dict({"intents": ["a"]})):
            assert one.is_empty() is rasas(one)
    finally:
        Domain.is_empty = rasas


def check_rasa_still_runs_its_graph_by_dask() -> None:
    """What `plan_once` replaces."""
    assert "dask.get(run_graph, run_targets)" in inspect.getsource(DaskGraphRunner.run)


def check_rasa_still_lets_each_action_run_on_a_copy() -> None:
    """What `copy_state` makes quick."""
    assert "tracker.copy()" in inspect.getsource(MessageProcessor._run_action)
    assert "travel_back_in_time" in inspect.getsource(DialogueStateTracker.copy)


def check_a_copy_is_the_tracker_played_again() -> None:
    """In a form, after an interruption, after a restart; and what happens to it does not happen to the tracker."""
    before = [UserUttered("a"), SlotSet("address", "x"), Restarted(), ActionExecuted("action_listen"), UserUttered("b")]
    form = [
        ActiveLoop("case_form"),
        SlotSet("order_number", "1"),
        LoopInterrupted(True),
        ActionExecuted("action_listen"),
    ]
    for events in ([], before, [*before, *form], [*form, ActiveLoop(None)]):
        tracker = DialogueStateTracker.from_events(SENDER, events, domain().slots)
        with quickened():
            copied = tracker.copy()
        played = tracker.travel_back_in_time(float("inf"))
        for name in ("events", "active_loop", "latest_action", "latest_message", "followup_action", "sender_id"):
            assert getattr(copied, name) == getattr(played, name), (name, events)
        assert copied.current_slot_values() == played.current_slot_values(), events

        was = tracker.current_slot_values(), tracker.active_loop, len(tracker.events)
        copied.update_with_events([SlotSet("order_number", "2"), ActiveLoop("other"), LoopInterrupted(False)], domain())
        assert (tracker.current_slot_values(), tracker.active_loop, len(tracker.events)) == was, events


def check_rules_see_the_latest_states_as_rasa_shows_them() -> None:
    """At every moment of a conversation with a form that is older than what is looked back on."""
    listens, begins = ActionExecuted("action_listen"), [ActionExecuted("case_form"), ActiveLoop("case_form")]
    digression = [
        listens,
        UserUttered("?", {"name": "faq"}),
        ActionExecuted("utter_faq/care"),
        ActionExecuted("case_form"),
    ]
    ends = [ActionExecuted("case_form"), ActiveLoop(None), ActionExecuted("action_open_ticket")]
    events = [*digression[:3] * 3, *begins, *digression * (recent_states.TURNS + 2), *ends, *digression[:3] * 7]
    rasas, whole = DialogueStateTracker.past_states, domain()
    for end in range(1, len(events) + 1):
        tracker = DialogueStateTracker.from_events(SENDER, events[:end], whole.slots)
        shown = rasas(tracker, whole)
        recent_states.look_back_only_so_far()
        try:
            ours = tracker.past_states(whole)
        finally:
            DialogueStateTracker.past_states = rasas
        assert ours[-8:] == shown[-8:], end


def check_states_are_shown_anew_when_something_has_happened() -> None:
    """To a tracker that grows and to its copies; and whoever changes what was shown changes nothing."""
    rasas, played = DialogueStateTracker.past_states, Domain.states_for_tracker_history
    whole, times = domain(), []

    def counted(*arguments: Any, **options: Any) -> Any:
        times.append(arguments)
        return played(*arguments, **options)

    recent_states.look_back_only_so_far()
    Domain.states_for_tracker_history = counted
    try:
        growing = DialogueStateTracker(SENDER, whole.slots)
        for number in range(12):
            for event in (ActionExecuted("action_listen"), UserUttered("?", {"name": f"faq{number % 2}"})):
                copied = copy_of(growing)
                for tracker in (growing, copied):
                    tracker.update(event)
                    times.clear()
                    for _ in range(2):
                        shown = tracker.past_states(whole)
                        assert shown == played(whole, recent_states._recent(tracker))
                        shown[-1].setdefault("user", {}).clear()
                    assert len(times) == 1
                assert growing.past_states(whole, omit_unset_slots=True)
                assert len(times) == 2
    finally:
        DialogueStateTracker.past_states, Domain.states_for_tracker_history = rasas, played


def copy_of(tracker: DialogueStateTracker) -> DialogueStateTracker:
    """As an action gets it."""
    with quickened():
        return tracker.copy()


def conversations(model: Domain, number: int) -> Iterator[DialogueStateTracker]:
    """Trackers of whatever can happen, likely or not, of one to thirty events."""
    dice = random.Random(number)
    actions = [*model.action_names_or_texts, "action_listen", "case_form"]
    for _ in range(number):
        tracker = DialogueStateTracker(SENDER, model.slots)
        for _ in range(dice.randint(1, 30)):
            said = [ActionExecuted("action_listen"), UserUttered("?", {"name": dice.choice(model.intents)})]
            done = [ActionExecuted(dice.choice(actions))]
            form = [ActionExecuted("case_form"), ActiveLoop(dice.choice(("case_form", None)))]
            slot = [SlotSet("marked_ticket", dice.choice(("1001", None))), SlotSet("requested_slot", None)]
            left = [dice.choice((ActionExecutionRejected("case_form"), LoopInterrupted(True), Restarted()))]
            tracker.update_with_events(dice.choice((said, said, done, form, slot, left)), model)
        yield tracker


def check_no_rule_that_applies_is_left_out() -> None:
    """At each step of a real conversation and of many that nobody leads, as Rasa finds them among all."""
    rasas = RulePolicy._get_possible_keys
    assert "possible_keys = set(lookup.keys())" in inspect.getsource(rasas)
    look_at_likely_rules()
    ours, found, policies = RulePolicy._get_possible_keys, [], []

    def both(self: RulePolicy, rules: dict[str, str], states: list[Any]) -> set[str]:
        keys: set[str] = rasas(self, rules, states)
        assert ours(self, rules, states) == keys, states
        found.extend(keys)
        policies.append(self)
        return keys

    RulePolicy._get_possible_keys = both
    try:
        with store() as live:
            conversation(live)
            for tracker in conversations(live.domain, 300):
                policies[0]._predict(tracker, live.domain)
        assert both(policies[0], policies[0].lookup["rules"], [])
    finally:
        RulePolicy._get_possible_keys = rasas
    assert len(set(found)) > len(policies[0].lookup["rules"]) / 2, len(set(found))


def check_a_long_conversation_is_shortened_to_what_it_led_to() -> None:
    """The table keeps every event; in memory, and played again after a restart, slots and form are as they were."""
    with store() as live:
        tracker = spoken(live, "one")
        tracker.update_with_events(
            [SlotSet("language", "en"), ActiveLoop("case_form"), SlotSet("order_number", "1")], domain()
        )
        asyncio.run(live.save(tracker))
        for number in range(120):
            tracker = spoken(live, str(number))
            assert len(tracker.events) <= trackers.MOST_EVENTS
        tracker.update_with_events([Restarted(), *list(tracker.events)[:-3]], domain())
        for kept in (tracker, read(again(live))):
            assert kept is not None
            assert kept.current_slot_values() == {**kept.current_slot_values(), "language": "en", "order_number": "1"}
            assert kept.active_loop_name == "case_form"
        with live.engine.connect() as connection:
            said = connection.execute(sa.text("SELECT count(*) FROM events WHERE type_name = 'user'")).scalar()
        assert said == 121


def check_a_living_conversation_is_not_read_again() -> None:
    with store() as live:
        tracker = spoken(live, "one", "two")

        assert read(live) is tracker
        assert read(live, "web:stranger") is None


def check_the_next_start_reads_what_was_said() -> None:
    """Each event is stored once, and in order."""
    with store() as live:
        tracker = spoken(live, "one", "two", "three")

        assert rows(live) == len(tracker.events)
        assert texts(read(again(live))) == ["one", "two", "three"]
        assert texts(spoken(again(live), "four")) == ["one", "two", "three", "four"]


def check_a_conversation_is_read_as_rasa_reads_it() -> None:
    """Its latest session, wherever the rows of the table stand and whatever they lack; each event the same."""
    assert "[json.loads(event.data) for event in serialised_events]" in inspect.getsource(SQLTrackerStore._retrieve)
    long_ago, later = 1_000.0, 2_000.0
    first = [ActionExecuted("action_session_start"), SessionStarted(timestamp=long_ago), UserUttered("one")]
    late = [SessionStarted(timestamp=later), UserUttered("two", timestamp=later), BotUttered("?", timestamp=long_ago)]
    form = [ActiveLoop("case_form"), SlotSet("order_number", "1"), LoopInterrupted(True), Restarted()]
    with store() as live:
        for number, events in enumerate(
            ([], first[2:], first, [*first, *late], [*late, *form], [*late, *late, *first])
        ):
            sender_id = f"web:{number}"
            with live.engine.begin() as connection:
                for event in events:
                    connection.execute(live._add, trackers._row(sender_id, event))
                if number % 2:
                    lacking = "UPDATE events SET timestamp = NULL WHERE sender_id = :sender_id AND type_name = 'bot'"
                    connection.execute(sa.text(lacking), {"sender_id": sender_id})
            rasas, ours = asyncio.run(SQLTrackerStore.retrieve(live, sender_id)), read(live, sender_id)
            assert bool(rasas) == bool(ours) == bool(events), number
            if rasas and ours:
                assert [e.as_dict() for e in ours.events] == [e.as_dict() for e in rasas.events], number
                assert ours.current_state() == rasas.current_state(), number


def check_an_event_is_of_the_type_that_rasa_finds() -> None:
    """Every kind there is, one that no longer is, and one that never was, which is an error each time."""
    rasas = Event.resolve_by_type
    assert "rasa.shared.utils.common.all_subclasses(Event)" in inspect.getsource(rasas)
    try:
        remember_types()
        for name in (*(kind.type_name for kind in all_subclasses(Event)), "topic"):
            assert Event.resolve_by_type(name) is Event.resolve_by_type(name) is rasas(name), name
        assert Event.resolve_by_type("nothing", SlotSet) is SlotSet
        for _ in range(2):
            with contextlib.suppress(ValueError):
                raise AssertionError(Event.resolve_by_type("nothing"))
    finally:
        Event.resolve_by_type = staticmethod(rasas)


def check_what_another_process_wrote_or_erased_counts() -> None:
    with store() as live:
        spoken(live, "one")
        spoken(again(live), "two")

        assert texts(read(live)) == ["one", "two"]
        spoken(live, "three")
        assert texts(read(again(live))) == ["one", "two", "three"]

        with live.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM events"))
        assert read(live) is None


def check_rasa_still_asks_its_lock_store_for_each_turn() -> None:
    """`ConversationLocks` replaces `lock`; and Rasa's own, with Redis, still reads, changes and writes back."""
    assert "async with self.lock_store.lock(message.sender_id)" in inspect.getsource(Agent.handle_message)
    assert "wait_time_in_seconds: float = 1" in inspect.getsource(LockStore.lock)
    assert "self.get_or_create_lock" in inspect.getsource(RedisLockStore.issue_ticket)


def is_refused(live: LiveTrackers, tracker: DialogueStateTracker) -> bool:
    """Whether a turn cannot be stored because another engine has stored one meanwhile."""
    try:
        asyncio.run(live.save(tracker))
    except PlayedElsewhere:
        return True
    return False


def check_of_two_turns_played_at_once_one_is_stored() -> None:
    """Two engines that play the same conversation would else store a message twice, or two that miss each other."""
    with store() as live:
        spoken(live, "one")
        tracker = read(live)
        spoken(again(live), "two")
        tracker.update(UserUttered("two"))
        assert is_refused(live, tracker)

        assert texts(read(live)) == ["one", "two"]
        assert texts(spoken(live, "three")) == ["one", "two", "three"]


def check_of_two_first_turns_played_at_once_one_is_stored() -> None:
    """Also before anything is stored."""
    with store() as live:
        tracker = asyncio.run(live.get_or_create_tracker(SENDER, append_action_listen=False))
        spoken(again(live), "one")
        tracker.update(UserUttered("one"))
        assert is_refused(live, tracker)

        assert texts(read(live)) == ["one"]


def check_a_turn_that_was_played_elsewhere_breaks_no_other() -> None:
    """Though they wait for the disk at the same time, and would be committed together."""

    async def save_together(live: LiveTrackers, *played: DialogueStateTracker) -> list[Any]:
        begun, busy = threading.Event(), threading.Event()
        live._writer.put("", lambda _: (begun.set(), busy.wait()))
        begun.wait()
        saves = [asyncio.create_task(live.save(tracker)) for tracker in played]
        await asyncio.sleep(0)
        busy.set()
        return await asyncio.gather(*saves, return_exceptions=True)

    with store() as live:
        spoken(live, "one")
        late, other = read(live), asyncio.run(live.get_or_create_tracker("web:other"))
        spoken(again(live), "two")
        late.update(UserUttered("two"))
        other.update(UserUttered("hello"))
        before = rows(live)
        broken, stored = asyncio.run(save_together(live, late, other))

        assert isinstance(broken, PlayedElsewhere)
        assert stored is None
        assert texts(read(live)) == ["one", "two"]
        assert texts(read(again(live), "web:other")) == ["hello"]
        assert rows(live) == before + 1


def check_conversations_are_stored_in_one_order_by_all_engines() -> None:
    """On PostgreSQL each is locked until the commit; in the order they come in, two engines wait for each other."""
    with store() as live:
        begun, busy, order = threading.Event(), threading.Event(), []
        live._writer.put("", lambda _: (begun.set(), busy.wait()))
        begun.wait()
        for turn in ("c1", "a1", "b1", "a2"):
            last = live._writer.put(turn[0], lambda _, turn=turn: order.append(turn))
        busy.set()
        last.result()

        assert order == ["a1", "a2", "b1", "c1"]


def check_a_turn_that_broke_leaves_nothing_behind() -> None:
    """Rasa answers nothing then, and the message is played again."""
    with store() as live:
        spoken(live, "one").update(UserUttered("broken"))

        assert texts(read(live)) == ["one"]
        assert texts(spoken(live, "two")) == ["one", "two"]
        assert texts(read(again(live))) == ["one", "two"]


def check_somebody_who_looks_during_a_turn_changes_nothing() -> None:
    with store() as live:
        tracker = spoken(live, "one")
        tracker.update(UserUttered("two"))
        read(live)
        asyncio.run(live.save(tracker))

        assert texts(read(live)) == ["one", "two"]
        assert texts(read(again(live))) == ["one", "two"]


def check_a_new_session_is_read_without_the_old_one() -> None:
    """As Rasa does; the old events stay in the table."""
    with store() as live:
        tracker = spoken(live, "one")
        tracker.update_with_events([SessionStarted(), UserUttered("two")], domain())
        asyncio.run(live.save(tracker))

        assert texts(read(live)) == texts(read(again(live))) == ["two"]
        assert rows(live) == len(tracker.events)


def check_who_is_silent_longest_leaves_the_memory_first() -> None:
    with store() as live:
        kept, trackers.MOST_LIVE = trackers.MOST_LIVE, 2
        try:
            for sender_id in ("web:a", "web:b", "web:a", "web:c"):
                tracker = asyncio.run(live.get_or_create_tracker(sender_id))
                tracker.update(UserUttered("x"))
                asyncio.run(live.save(tracker))
        finally:
            trackers.MOST_LIVE = kept

        assert list(live._live) == ["web:a", "web:c"]
        assert texts(read(live, "web:b")) == ["x"]


def check_a_turn_whose_caller_hung_up_harms_nobody() -> None:
    """Rasa's server cancels it, at whatever moment; the service asks later what became of it."""

    async def hung_up(live: LiveTrackers) -> None:
        tracker = await live.retrieve(SENDER)
        assert tracker is not None
        tracker.update(UserUttered("lost"))
        saving = asyncio.create_task(live.save(tracker))
        await asyncio.sleep(0)
        saving.cancel()
        await asyncio.gather(saving, return_exceptions=True)
        await live.retrieve(SENDER)

    with store() as live:
        spoken(live, "one")
        for _ in range(5):
            asyncio.run(hung_up(live))
        spoken(live, "two")

        assert texts(read(live)) == texts(read(again(live)))
        assert texts(read(live))[0] == "one"
        assert texts(read(live))[-1] == "two"


def check_a_turn_that_cannot_be_stored_fails() -> None:
    """Rasa itself would answer, and forget at the next start what was said."""
    rasas = FailSafeTrackerStore.on_tracker_store_error, FailSafeTrackerStore.on_tracker_store_retrieve_error
    with store() as live:
        safe = FailSafeTrackerStore(live)
        spoken(live, "one")
        with live.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE events"))
        fail_loudly()
        try:
            for call in (safe.retrieve(SENDER), safe.save(tracker_of("two"))):
                try:
                    asyncio.run(call)
                except sa.exc.OperationalError:
                    continue
                raise AssertionError("nobody heard of it")
        finally:
            FailSafeTrackerStore.on_tracker_store_error, FailSafeTrackerStore.on_tracker_store_retrieve_error = rasas


def tracker_of(text: str) -> DialogueStateTracker:
    return DialogueStateTracker.from_events(SENDER, [UserUttered(text)], domain().slots)
