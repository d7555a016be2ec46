"""A data set to a folder of latents: planned, gone on with where it was cut off, and ended with an index."""

from dataclasses import asdict
from itertools import islice
from pathlib import Path

from tqdm.auto import tqdm

from c3.support.errors import UserError, one_line
from c3.support.loading import load_model
from c3.training.data.documents import load_texts

from .compressor import ShardCompressor
from .shards import Shard, ShardFolder, plan_shards
from .with_ray import compress_with_ray


def compress_dataset(
    source, address, model, options, rows_per_shard=256, limit=None, ray_workers=None, cluster=None, quiet=False
):
    """
    Compresses the texts of a data set to shards of latents. A run that was cut off goes on with the shards that are not
    finished; the latents are the same either way, and the same with Ray, as a shard is compressed by itself.

        compress_dataset(DataSource("rows.parquet"), "compressed", {"name": "org/c3"}, {"ratio": 8})

    Args:
        source ([`DataSource`]): a file or a data set of the Hub, perhaps streaming.
        address (`str`): folder, or address of fsspec.
        model (`dict`): `name`, `device`, `dtype`, see `load_model`.
        options (`dict`): keywords of `C3Model.compress` that the latents depend on.
        rows_per_shard (`int`): rows of a file.
        limit (`int`, *optional*): the first so many rows.
        ray_workers (`int`, *optional*): processes of Ray; else all is done in this one.
        cluster (`str`, *optional*): of Ray, see `compress_with_ray`.
        quiet (`bool`): no progress bar.

    Returns: `dict`, the index.

    Raises:
        UserError, ValueError, OSError: saying in one line what is wrong.
    """
    if source.streaming and ray_workers:
        raise UserError("--ray reads rows of a data set by number: leave out --streaming")
    texts = _load(source, limit)
    if not source.streaming and not len(texts):
        raise UserError(f"{source.path} has no rows")
    folder = ShardFolder(address)
    compressor = None if ray_workers else ShardCompressor(model, options, folder, texts)
    maker = compressor.model if compressor else load_model(**model)
    folder.begin(_settings(source, texts, maker, options, rows_per_shard, limit))
    if source.streaming:
        entries = _stream(texts, compressor, folder, rows_per_shard, quiet)
    else:
        shards = plan_shards(len(texts), rows_per_shard)
        entries = {shard.number: entry for shard in shards if (entry := folder.entry(shard))}
        left = [shard for shard in shards if shard.number not in entries]
        if ray_workers and left:
            made = compress_with_ray(left, model, options, address, lambda: _load(source, limit), ray_workers, cluster)
        else:
            made = map(compressor, left) if left else ()
        with _bar(quiet, len(texts), sum(entry["rows"] for entry in entries.values())) as bar:
            for entry in made:
                entries[entry["number"]] = entry
                bar.update(entry["rows"])
        entries = [entries[shard.number] for shard in shards]
    if not entries:
        raise UserError(f"{source.path} has no rows")
    return folder.end(entries)


def _load(source, limit):
    try:
        texts = load_texts(source)
    except (OSError, ValueError):
        raise
    except StopIteration:  # what datasets makes of an empty file
        raise UserError(f"{source.path} has no rows") from None
    except Exception as error:
        raise UserError(f"cannot read {source.path}: {one_line(error)}") from error
    if limit is None:
        return texts
    return texts.take(limit) if source.streaming else texts.select(range(min(limit, len(texts))))


def _stream(texts, compressor, folder, rows_per_shard, quiet):
    """The entries of all shards of rows that come one after the other."""
    entries, rows, start = [], iter(texts), 0
    with _bar(quiet, None, 0) as bar:
        while some := [row["text"] for row in islice(rows, rows_per_shard)]:
            shard = Shard(len(entries), start, len(some))
            # Of a shard that is finished the rows are read and not compressed.
            entries.append(folder.entry(shard) or compressor.compress(shard, some))
            start += len(some)
            bar.update(len(some))
    return entries


def _bar(quiet, total, done):
    return tqdm(total=total, initial=done, desc="Compressing", unit=" rows", disable=True if quiet else None)


def _settings(source, texts, model, options, rows_per_shard, limit):
    made_by, file = asdict(model.latent_provenance()), Path(source.path)
    return {
        "source": source.path,
        "config": source.config,
        "split": source.split,
        "column": source.column,
        # A file that is another one by now would have other rows.
        "source_bytes": file.stat().st_size if file.is_file() else None,
        "rows": None if source.streaming else len(texts),
        "limit": limit,
        "rows_per_shard": rows_per_shard,
        "compress": {name: value for name, value in options.items() if name != "batch_size" and value is not None},
        "model": {name: made_by[name] for name in ("config_fingerprint", "weights_fingerprint", "dtype")},
    }
