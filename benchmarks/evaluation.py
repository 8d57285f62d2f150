"""An evaluation at five dims against sentence-transformers': `python benchmarks/evaluation.py [--repeats 3]`.

Equal weights, queries, documents and precision. sentence-transformers: an InformationRetrievalEvaluator a dim, as its
documentation shows for Matryoshka models. Tokenizing is part of both sides. All metrics at all dims are compared.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from itertools import islice

import torch
from record import Comparison, Fact, Record
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator, SequentialEvaluator
from sides import DIMS, LENGTH, arguments, in_turn, load

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import PairFiles
from matryoshka.embedded.german_help import FOLDER
from matryoshka.encoder import Encoder
from matryoshka.evaluation.evaluator import Evaluator

Metrics = Mapping[str, float]  # `ndcg@10/dim_256` -> value

AT = {"accuracy": [1, 3, 5, 10], "precision_recall": [1, 3, 5, 10], "ndcg": [10], "mrr": [10], "map": [100]}


def part(queries: int, documents: int) -> RetrievalSet:
    """The first queries of the embedded set, their documents, and others up to the number asked for."""
    files = {name: str(FOLDER / f"{name}.jsonl") for name in ("train", "evaluation", "documents")}
    whole = PairFiles("german_help", files["train"], files["evaluation"], [files["documents"]], id="id").retrieval_set()
    asked = dict(islice(whole.queries.items(), queries))
    wanted = {document for query in asked for document in whole.relevant[query]}
    others = islice((d for d in whole.corpus if d not in wanted), max(0, documents - len(wanted)))
    corpus = {document: whole.corpus[document] for document in sorted([*wanted, *others])}
    return RetrievalSet("german_help", asked, corpus, {query: whole.relevant[query] for query in asked})


def their_evaluator(data: RetrievalSet) -> SequentialEvaluator:
    """One evaluator a dim."""
    evaluators = [
        InformationRetrievalEvaluator(
            dict(data.queries),
            dict(data.corpus),
            {query: set(documents) for query, documents in data.relevant.items()},
            name=f"dim_{dim}",
            truncate_dim=dim,
            query_prompt_name="query",
            corpus_prompt_name="document",
            write_csv=False,
            **{f"{metric}_at_k": ranks for metric, ranks in AT.items()},
        )
        for dim in DIMS
    ]
    return SequentialEvaluator(evaluators)


class EvaluationSides:
    """Both sides with the same weights, queries and documents; what each found is kept by its name."""

    def __init__(self, data: RetrievalSet, encoder: Encoder, theirs: SentenceTransformer) -> None:
        self.data, self.encoder, self.theirs = data, encoder, theirs
        self.evaluator, self.their = Evaluator(), their_evaluator(data)
        self.found: dict[str, Metrics] = {}
        encoder.encode(["x"]), theirs.encode(["x"])  # a first call, not measured

    def ours(self, precision: str, dims: tuple[int, ...] = DIMS) -> None:
        """An evaluation of ours."""
        result = self.evaluator.evaluate(self.encoder, self.data, dims, precision=precision)  # type: ignore[arg-type]
        if dims == DIMS:
            self.found[f"ours, {precision}"] = result.flat()

    def sentence_transformers(self, precision: str) -> None:
        """An evaluation of theirs."""
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            values = self.their(self.theirs)
        names = (f"{name}/dim_{dim}" for dim in DIMS for name in self.evaluator.metrics)
        self.found[f"theirs, {precision}"] = {name: values[their_name(name)] for name in names}

    def agreement(self, precision: str, their_precision: str) -> str:
        """The largest difference of all metrics and dims, in words."""
        ours, theirs = self.found[f"ours, {precision}"], self.found[f"theirs, {their_precision}"]
        largest = max(ours, key=lambda name: abs(ours[name] - theirs[name]))
        difference = abs(ours[largest] - theirs[largest])
        of = "both" if precision == their_precision else f"ours in {precision}, theirs"
        where = f", of {largest}" if difference else ""
        return f"{of} in {their_precision}: {len(ours)} metrics differ by at most {difference:.1e}{where}"


def their_name(name: str) -> str:
    """`ndcg@10/dim_256` -> `dim_256_cosine_ndcg@10`."""
    metric, _, dim = name.partition("/")
    return f"{dim}_cosine_{metric}"


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", queries=80, documents=230)
    data = part(options.queries, options.documents)
    precision, bf16 = options.precision, options.precision == "bf16"
    print(f"data       {len(data.queries)} queries over {len(data.corpus)} documents, {LENGTH} tokens at most")
    print(f"dims       {', '.join(map(str, DIMS))}", flush=True)
    sides = EvaluationSides(data, *load())
    measured = {
        "five dims": lambda _: sides.ours(precision),
        "one dim": lambda _: sides.ours(precision, DIMS[:1]),
        "theirs": lambda _: sides.sentence_transformers(precision),
    }
    if bf16:
        measured["theirs by default"] = lambda _: sides.sentence_transformers("fp32")
        sides.ours("fp32")  # not measured: what rounding to bf16 changes is told apart from what the sides do
    seconds = dict(zip(measured, in_turn(list(measured.values()), options.repeats), strict=True))

    record = Record("Evaluation")
    target = 8.0 if precision == options.best else None
    of = f"{len(data.queries)} queries over {len(data.corpus)} documents"
    agreement = sides.agreement(precision, precision) + (f"; {sides.agreement('fp32', 'fp32')}" if bf16 else "")
    ours = seconds["five dims"]
    record.comparisons.append(
        Comparison(
            f"evaluation at five dims, {of}, {precision}", "s", ours, seconds["theirs"], False, agreement, target
        )
    )
    if bf16:
        job = "the same, ours in bf16 against sentence-transformers' default, fp32"
        agreement = sides.agreement("bf16", "fp32")
        record.comparisons.append(Comparison(job, "s", ours, seconds["theirs by default"], False, agreement, target))
    else:
        record.notes.append(
            "Evaluation: fp32 is sentence-transformers' default, so the row in fp32 is the comparison with it as well."
        )
    cost = statistics.median(five / one for five, one in zip(ours, seconds["one dim"], strict=True))
    record.facts.append(Fact("evaluation, cost of five dims against one", cost, "times", limit=1.1))
    record.show()
    record.write(options.json)


if __name__ == "__main__":
    main()
