"""
Clients that ask `c3 serve` at the same time, each again as soon as it has its answer: questions of three lengths about
contexts of three lengths at 16x, answered in 16 to 128 tokens, and one in ten after a new text was sent.

Baseline: one request after the other, by the same server, for a third of the time. Given are tokens a second of all
clients together against that, the time to the first piece (median and 99th percentile of all requests), and the
server's resident memory at the end against that after a third of the time. All requests have to be answered, and with
what one at a time was. Floor: none; clients take part of the same CPU. 64 clients for 20 seconds; with --long for five
minutes. The weights are the default checkpoint's without its adapter: the answers mean nothing, but cost as much.

With the environment variable C3_VLLM_PYTHON, a Python that has vLLM, all is measured with that as the backend, too, and
given against transformers.
"""

import os
import random
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from statistics import quantiles

from .contexts import PROMPT, RATIO
from .harness import Benchmark, agreement_row, check_row, ratio_row, value_row
from .serve_client import Client, Served, running_server

SENT_TEXTS = 0.1  # share of requests before which a new text is compressed
NEW_TOKENS = (16, 64, 128)


def measure(setup):
    seconds = setup.pick(300 if setup.long else 20, 1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        setup.model.save_pretrained(folder / "model")
        described = (folder / "model", setup.device, setup.dtype, folder / "contexts", setup.time_limit)
        with running_server(*described) as server:
            rows, per_token = measure_server(setup, server, setup.pick(64, 4), seconds)
        if python := os.environ.get("C3_VLLM_PYTHON"):
            with running_server(*described, "--backend", "vllm", "--vllm-python", python) as server:
                more, with_vllm = measure_server(setup, server, setup.pick(64, 4), seconds)
            rows += [row | {"case": f"vLLM: {row['case']}"} for row in more]
            rows.append(ratio_row("vLLM against transformers: seconds a token", [[with_vllm], [per_token]], "speed"))
        return rows


def measure_server(setup, server, clients, seconds):
    """The rows for so many clients of a running [`Server`], and seconds a token of all together."""
    asked = _requests(setup, Client(server.address))
    text = _text(setup, setup.pick(256, 32))
    alone = Load(server, asked, seconds / 3)
    alone.run([alone.in_turn])
    setup.time_limit.check()
    together = Load(server, asked, min(seconds, setup.time_limit.seconds_left()))
    together.run([partial(together.at_random, random.Random(number), text) for number in range(clients)])
    setup.time_limit.check()
    return _rows(setup, clients, alone, together), together.seconds / max(together.tokens, 1)


def _requests(setup, client):
    """Bodies of completions, `list[dict]`, whose contexts the server has."""
    lengths = setup.pick((256, 1024, 4096), (32, 64))
    names = [client.add_context(_text(setup, length), ratio=RATIO) for length in lengths]
    prompts = [PROMPT * times for times in setup.pick((1, 4, 16), (1, 2))]
    counts = setup.pick(NEW_TOKENS, (2, 6))
    return [
        {"prompt": prompt, "contexts": [name], "max_tokens": count}
        for name in names
        for prompt in prompts
        for count in counts
    ]


def _text(setup, tokens):
    return setup.model.processor.decode(setup.tokens(tokens))


class Load:
    """
    What clients ask of a server in so many seconds, and what they get.

        load = Load(server, bodies, seconds=20)
        load.run([load.in_turn])  # a client each

    Attributes:
        served (`list[tuple[int, Served]]`): place of the body, and what came of it.
        memory (`list[tuple[float, int]]`): seconds after the start, and bytes that the server held then.
        seconds (`float`): it took, with the requests that were under way.
    """

    def __init__(self, server, asked, seconds):
        self.server, self.asked, self.allowed = server, asked, seconds
        self.started, self.seconds = time.perf_counter(), 0.0
        self.served, self.memory = [], []

    def in_turn(self):
        """A client that asks one after the other, at least one round of all."""
        client, turn = Client(self.server.address), 0
        while turn < len(self.asked) or self._is_on():
            self._note(turn % len(self.asked), client.complete(self.asked[turn % len(self.asked)]))
            turn += 1

    def at_random(self, draw, text):
        """A client that draws what to ask, and sometimes has a text, which is another one each time, compressed."""
        client = Client(self.server.address)
        while self._is_on():
            place = draw.randrange(len(self.asked))
            try:
                if draw.random() < SENT_TEXTS:
                    client.add_context(f"{draw.random()} {text}", ratio=RATIO)
                self._note(place, client.complete(self.asked[place]))
            except (OSError, RuntimeError, ValueError) as error:
                self._note(place, Served(error=repr(error)))

    def run(self, clients):
        """Has clients, functions each, ask at the same time."""
        threads = [threading.Thread(target=each) for each in clients]
        self.started = time.perf_counter()
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.seconds = self._elapsed()

    @property
    def answered(self):
        """Those of `served` that are answers."""
        return [(place, served) for place, served in self.served if not served.error]

    @property
    def tokens(self):
        """Of all answers."""
        return sum(served.tokens for _, served in self.served)

    def _elapsed(self):
        return time.perf_counter() - self.started

    def _is_on(self):
        return self._elapsed() < self.allowed

    def _note(self, place, served):
        self.served.append((place, served))
        self.memory.append((self._elapsed(), self.server.memory()))


def _rows(setup, clients, alone, together):
    failed = [served.error for _, served in together.served if served.error]
    case = f"{clients} clients, {together.seconds:.0f} s, {len(together.served)} requests"
    per_token = [[load.seconds / max(load.tokens, 1)] for load in (together, alone)]
    if min(len(alone.answered), len(together.answered)) < 2:
        raise RuntimeError(f"the server answered nearly nothing: {failed[:1]}")
    expected = {place: served.text for place, served in alone.answered}
    equal = sum(served.text == expected.get(place) for place, served in together.answered) / len(together.served)
    rows = [
        ratio_row(f"{case}: seconds a token against one request after the other", per_token, "speed"),
        check_row(f"{case}: answered", 1 - len(failed) / len(together.served), failed=failed[:3]),
        agreement_row(setup, f"{case}: answered as alone", equal),
        value_row(f"{case}: tokens a second", together.tokens / together.seconds, " tokens/s"),
    ]
    for name, load in (("together", together), ("one after the other", alone)):
        cuts = quantiles([served.first for _, served in load.answered], n=100, method="inclusive")
        rows += [value_row(f"first piece, {name}, p{share}", cuts[share - 1], "s") for share in (50, 99)]
    early = next(held for when, held in together.memory if when >= together.seconds / 3)
    rows.append(value_row(f"{case}: memory at the end against after a third", together.memory[-1][1] / early, "x"))
    return rows


BENCHMARK = Benchmark("c3 serve: many clients against one request after the other", measure)
