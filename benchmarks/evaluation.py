"""An evaluation at five dims against sentence-transformers': `python benchmarks/evaluation.py [--repeats 3]`.

Equal weights, queries, documents and precision. sentence-transformers: an InformationRetrievalEvaluator a dim, as its
documentation shows for Matryoshka models. Tokenizing is part of both sides.
"""

from __future__ import annotations

import contextlib
import statistics
from itertools import islice

import torch
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator, SequentialEvaluator
from sides import DIMS, LENGTH, arguments, interleaved, load, ratio

from matryoshka.data.retrieval_set import RetrievalSet
from matryoshka.data.sources import PairFiles
from matryoshka.embedded.german_help import FOLDER
from matryoshka.retrieval.evaluation import Evaluator
from matryoshka.retrieval.result import EvaluationResult

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


def main() -> None:
    """Measure and print."""
    options = arguments(__doc__ or "", queries=60, documents=120)
    data = part(options.queries, options.documents)
    encoder, theirs = load()
    evaluator = Evaluator()
    their = their_evaluator(data)
    bf16 = options.precision == "bf16"
    print(f"data       {len(data.queries)} queries over {len(data.corpus)} documents, {LENGTH} tokens at most")
    print(f"dims       {', '.join(map(str, DIMS))}")
    our_results: list[EvaluationResult] = []
    their_results: list[dict[str, float]] = []

    def measure_ours(repeat: int) -> None:
        our_results.append(evaluator.evaluate(encoder, data, DIMS, precision=options.precision))

    def measure_theirs(repeat: int) -> None:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            their_results.append(their(theirs))

    encoder.encode(["x"]), theirs.encode(["x"])  # a first call, not measured
    fast, slow = interleaved(measure_ours, measure_theirs, options.repeats)

    for dim in DIMS:
        ours_value, their_value = our_results[0].metrics[dim]["ndcg@10"], their_results[0][f"dim_{dim}_cosine_ndcg@10"]
        difference = abs(ours_value - their_value)
        agree = "agree" if difference < 1e-6 else f"DIFFER by {difference:.1e}"
        print(f"nDCG@10    dim {dim:>3}: {ours_value:.6f}, sentence-transformers {their_value:.6f}: {agree}")
    print(f"\nsentence-transformers  {statistics.median(slow):6.1f} s")
    print(f"matryoshka             {statistics.median(fast):6.1f} s")
    print(f"ratio                  {ratio(fast, slow)}")


if __name__ == "__main__":
    main()
