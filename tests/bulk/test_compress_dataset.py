"""Data sets to shards of latents: the same rows however they were made. Run: pytest tests/bulk"""

import json
import pickle
import re
import shutil

import datasets
import pytest

from c3 import C3Latents, C3Model
from c3.bulk.compressed_rows import CompressedRows
from c3.bulk.compressor import ShardCompressor
from c3.bulk.shards import plan_shards
from c3.cli.main import main
from c3.support.errors import UserError
from tiny_models import LONG, TEXTS

ROWS = [*TEXTS, None, LONG, "", TEXTS[0]]
AMOUNT = ["--num-latents", "4", "--rows-per-shard", "2", "--quiet"]


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": row, "number": 1}) + "\n" for row in ROWS), encoding="utf-8")
    return path


@pytest.fixture
def compress(data, checkpoint, capsys):
    """`compress(output, *options)`: what is printed, and said on standard error."""

    def run(output, *options, code=0, source=data):
        argv = ["compress-dataset", str(source), str(output), "--model", str(checkpoint), "--device", "cpu", *AMOUNT]
        assert main([*argv, *options]) == code
        return capsys.readouterr()

    return run


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_row_has_its_own_latents(compress, checkpoint, tmp_path):
    said = compress(tmp_path / "out").out
    rows, model = CompressedRows(str(tmp_path / "out")), C3Model.from_pretrained(checkpoint).eval()
    assert len(rows) == len(ROWS) and rows.skipped.keys() == {len(TEXTS), len(TEXTS) + 2}
    assert f"{len(ROWS)} rows in {-(-len(ROWS) // 2)} shards" in said and "left out: 2 rows, the first of them" in said
    for number, text in enumerate(ROWS):
        if number in rows.skipped:
            with pytest.raises(KeyError, match=f"row {number} was left out: "):
                rows[number]
        else:
            own = model.compress(text, num_latents=4)
            assert rows[number].to_bytes() and rows[number].text_lengths.tolist() == own.text_lengths.tolist()
            assert (
                rows[number].values.float() - own.values.float()
            ).abs().max() < 0.05 * own.values.float().abs().max()
    assert rows.skipped[len(TEXTS)].startswith("it ")
    for row in (len(ROWS), -len(ROWS) - 1):
        with pytest.raises(IndexError, match=f"there are {len(ROWS)} rows, and none is {row}"):
            rows[row]
    assert rows[-1].to_bytes() == rows[len(ROWS) - 1].to_bytes()
    # As the workers of a DataLoader get it.
    again = [each.to_bytes() for each in pickle.loads(pickle.dumps(rows))]
    assert again == [rows[row].to_bytes() for row in range(len(ROWS)) if row not in rows.skipped]


def test_a_run_that_was_cut_off_goes_on(compress, tmp_path, monkeypatch):
    compress(tmp_path / "whole")
    kept, done = ShardCompressor.__call__, []

    def interrupted(self, shard):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(shard.number)
        return kept(self, shard)

    monkeypatch.setattr(ShardCompressor, "__call__", interrupted)
    compress(tmp_path / "out", code=130)
    assert not (tmp_path / "out" / "index.json").exists()
    with pytest.raises(ValueError, match="run c3 compress-dataset to its end"):
        CompressedRows(str(tmp_path / "out"))
    # Latents without the file that says they are whole are made again.
    (tmp_path / "out" / "shard-000001.json").unlink()
    (tmp_path / "out" / "shard-000001.c3").write_bytes(b"half")
    (tmp_path / "out" / "shard-000000.c3").unlink()
    monkeypatch.setattr(ShardCompressor, "__call__", kept)
    compress(tmp_path / "out")
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    # And a run that has ended makes nothing anew.
    monkeypatch.setattr(ShardCompressor, "__call__", interrupted)
    compress(tmp_path / "out")


def test_a_stream_gives_the_same(compress, tmp_path, monkeypatch):
    compress(tmp_path / "whole", "--limit", "4")
    compress(tmp_path / "stream", "--limit", "4", "--streaming")
    whole = files_of(tmp_path / "whole")
    assert len(whole) == 6 and files_of(tmp_path / "stream") == whole
    # And goes on: a shard of other rows does not count as finished.
    made, kept = [], ShardCompressor.compress
    monkeypatch.setattr(ShardCompressor, "compress", lambda *args: made.append(args[1].number) or kept(*args))
    entry = tmp_path / "stream" / "shard-000001.json"
    entry.write_text(json.dumps(json.loads(entry.read_text()) | {"rows": 1}))
    compress(tmp_path / "stream", "--limit", "4", "--streaming")
    assert made == [1] and files_of(tmp_path / "stream") == whole


def test_other_stores(compress, tmp_path):
    """Whatever fsspec has an address for."""
    compress(tmp_path / "whole")
    compress(f"memory://{tmp_path.name}")
    rows = CompressedRows(f"memory://{tmp_path.name}")
    assert rows[0].to_bytes() == CompressedRows(str(tmp_path / "whole"))[0].to_bytes()


def test_what_is_refused(compress, data, checkpoint, tmp_path):
    compress(tmp_path / "out", "--limit", "2")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("Dear", encoding="utf-8")
    for output, options, message in (
        (tmp_path / "out", ["--limit", "3"], "was begun otherwise (limit: 2 then, 3 now"),
        (tmp_path / "out", ["--limit", "2", "--exact"], '{"num_latents": 4, "exact": false} then'),
        (tmp_path / "taken", [], "holds other files: name a new or an empty folder"),
        (tmp_path / "new", ["--column", "body"], "has no column 'body'"),
        (tmp_path / "new", ["--column", "number"], "the column number holds no texts: name another one"),
        (tmp_path / "new", ["--window", "9999"], "window"),
        (data / "below", [], "cannot write to "),
        (tmp_path / "new", ["--streaming", "--ray", "2"], "leave out --streaming"),
    ):
        assert message in compress(output, *options, code=2).err
        assert not (tmp_path / "new").exists()
    assert "No such data file" in compress(tmp_path / "new", code=2, source=tmp_path / "none.jsonl").err
    assert not (tmp_path / "new").exists()
    # With as many bytes.
    data.write_bytes(data.read_bytes().replace(b"the", b"teh"))
    assert "was begun otherwise (sha256: " in compress(tmp_path / "out", "--limit", "2", code=2).err
    other = shutil.copytree(checkpoint, tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-1]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    assert "model: " in compress(tmp_path / "out", "--limit", "2", "--model", str(other), code=2).err
    data.write_text("", encoding="utf-8")
    for streaming in ([], ["--streaming"]):
        assert "rows.jsonl has no rows" in compress(tmp_path / "new", *streaming, code=2).err
        assert not (tmp_path / "new").exists()


def test_what_fails_before_the_first_shard_stands_in_nobodys_way(compress, tmp_path, monkeypatch):
    """Nor what Ray refuses. A folder that was there stays, and so does what another run has begun."""
    kept, out = ShardCompressor.__call__, tmp_path / "out"
    out.mkdir()

    def fail(self, shard):
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardCompressor, "__call__", fail)
    compress(out, code=130)
    assert list(out.iterdir()) == []
    compress(f"memory://{tmp_path.name}", code=130)
    monkeypatch.setattr("c3.bulk.compress_dataset.compress_with_ray", refuse)
    assert "fewer workers" in compress(tmp_path / "new", "--ray", "200", code=2).err
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(ShardCompressor, "__call__", kept)
    compress(f"memory://{tmp_path.name}", "--num-latents", "2")
    compress(out, "--num-latents", "2")
    settings = out / "settings.json"
    for file in [each for each in out.iterdir() if each != settings]:
        file.unlink()
    monkeypatch.setattr(ShardCompressor, "__call__", fail)
    compress(out, "--num-latents", "2", code=130)
    assert settings.is_file()


def refuse(*_):
    raise UserError("give fewer workers")


def test_nothing_says_where_the_file_lay(compress, data, checkpoint, tmp_path):
    """Nor where the model does; and the file may lie elsewhere when the run goes on."""
    compress(tmp_path / "out", "--limit", "2")
    files = files_of(tmp_path / "out")
    assert b'"source": "rows.jsonl"' in files["settings.json"] and b'"source": "rows.jsonl"' in files["index.json"]
    folders = [str(folder).encode() for folder in (tmp_path, checkpoint.parent)]
    assert not [name for name, content in files.items() if any(folder in content for folder in folders)]
    assert checkpoint.name.encode() in files["shard-000000.c3"]
    (tmp_path / "elsewhere").mkdir()
    compress(tmp_path / "out", "--limit", "2", source=data.rename(tmp_path / "elsewhere" / data.name))
    assert files_of(tmp_path / "out") == files


@pytest.fixture
def hub(compress, data, monkeypatch):
    """`compress` of a data set of the Hub, which `data` stands for."""
    kept = datasets.load_dataset

    def load(name, config, split, **options):
        assert (name, config, split) == ("org/rows", None, "train")
        return kept("json", data_files=str(data), split=split, **options)

    def run(output, *options, code=0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("datasets.load_dataset", load)
            patch.setattr("c3.bulk.compress_dataset.find_source", lambda *_, **__: None)
            return compress(output, *options, code=code, source="org/rows")

    return run


@pytest.mark.parametrize("streaming", [[], ["--streaming"]])
def test_a_data_set_of_the_hub_that_has_changed(hub, data, tmp_path, monkeypatch, streaming):
    """What is finished must be of its rows; more rows may come, and what is not finished is of those of now."""

    def rewrite(rows):
        data.write_text("".join(json.dumps({"text": row, "number": 2}) + "\n" for row in rows), encoding="utf-8")

    out, made, kept = tmp_path / "out", [], ShardCompressor.compress
    rewrite(ROWS[:4])
    hub(out, *streaming)
    monkeypatch.setattr(ShardCompressor, "compress", lambda *args: made.append(args[1].number) or kept(*args))
    rewrite([*ROWS[:4], *ROWS[:3]])
    hub(out, *streaming)
    assert made == [2, 3] and len(CompressedRows(str(out))) == 7
    before = files_of(out)
    for rows, why in (
        ([*ROWS[:3], "", *ROWS[:3]], "org/rows has changed since .*out was begun: rows 2 to 3 were others"),
        ([*ROWS[:2], ROWS[3], ROWS[2], *ROWS[:3]], "rows 2 to 3 were others. Name another folder"),
        (ROWS[:4], "it had rows for 4 shards, not 2"),
    ):
        rewrite(rows)
        assert re.search(why, hub(out, *streaming, code=2).err)
    assert made == [2, 3] and files_of(out) == before


def test_shards_cover_all_rows():
    for rows in (1, 5, 6):
        shards = plan_shards(rows, 3)
        assert [row for shard in shards for row in range(shard.start, shard.start + shard.rows)] == list(range(rows))


@pytest.mark.slow
def test_two_workers_of_ray_give_the_same(compress, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    compress(tmp_path / "alone")
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    try:
        compress(tmp_path / "ray", "--ray", "2")
        # Ended already, so that no worker is begun.
        compress(tmp_path / "ray", "--ray", "2")
        assert "needs 9 CPUs of Ray" in compress(tmp_path / "more", "--ray", "8", code=2).err
        assert not (tmp_path / "more").exists()
    finally:
        ray.shutdown()
    alone, both = files_of(tmp_path / "alone"), files_of(tmp_path / "ray")
    assert alone == both and C3Latents.from_bytes(both["shard-000000.c3"]).num_latents
