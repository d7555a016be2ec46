"""A data set to a folder of latents: planned, gone on with where it was cut off, and ended with an index."""

import hashlib
import os
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import islice

from tqdm.auto import tqdm

from c3.latents_provenance_c3 import FINGERPRINT_FIELDS
from c3.support.errors import UserError, one_line
from c3.support.loading import find_source
from c3.training.data.documents import check_source, load_texts

from .compressor import ShardCompressor
from .shards import Shard, ShardFolder, fingerprint_texts, plan_shards
from .with_ray import compress_with_ray


def compress_dataset(
    source, address, model, options, rows_per_shard=256, limit=None, ray_workers=None, cluster=None, quiet=False
):
    """
    Compresses the texts of a data set to shards of latents. A run that was cut off goes on with the shards that are not
    finished; the latents are the same either way, and the same with Ray, as a shard is compressed by itself. It is
    refused where finished shards hold other texts than the data set has now. What fails before the first shard leaves
    no folder behind.

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
    folder = ShardFolder(address)
    try:
        return _compress(source, folder, model, options, rows_per_shard, limit, ray_workers, cluster, quiet)
    except BaseException:
        folder.undo()
        raise


def _compress(source, folder, model, options, rows_per_shard, limit, ray_workers, cluster, quiet):
    # What is wrong with the output or the model is said before data are read, or downloaded.
    folder.check()
    compressor = ShardCompressor(model, options, folder)
    amount = {name: options.get(name) for name in ("num_latents", "ratio", "window")}
    compressor.model.plan_windows("a", **amount)
    compressor.texts = texts = _load(source, limit)
    if not source.streaming and not len(texts):
        raise UserError(f"{source.path} has no rows")
    folder.begin(_settings(source, compressor.model, options, rows_per_shard, limit))
    if source.streaming:
        entries = _stream(source, texts, compressor, folder, rows_per_shard, quiet)
    else:
        shards = plan_shards(len(texts), rows_per_shard)
        _check_covers(source, folder, len(shards))
        finished = folder.sizes()
        entries = {shard.number: entry for shard in shards if (entry := folder.entry(shard, finished))}
        if not check_source(source.path):  # of a file all bytes were compared
            for shard in shards:
                if shard.number in entries:
                    rows = texts[shard.start : shard.start + shard.rows]["text"]
                    _check_same(source, folder, entries[shard.number], list(rows))
        left = [shard for shard in shards if shard.number not in entries]
        if ray_workers and left:
            load = partial(_load, source, limit)
            made = compress_with_ray(left, model, options, folder.address, load, ray_workers, cluster)
            folder.keep()
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
    with _reading(source):
        if not check_source(source.path):
            find_source(source.path, "", files=["README.md"], repo_type="dataset")
        texts = load_texts(source)
        feature = (texts.features or {}).get("text")
        if feature is not None and getattr(feature, "dtype", None) not in ("string", "large_string", "string_view"):
            raise ValueError(f"the column {source.column} holds no texts: name another one with --column")
    if limit is None:
        return texts
    return texts.take(limit) if source.streaming else texts.select(range(min(limit, len(texts))))


@contextmanager
def _reading(source):
    """Says of whatever fails, from a missing column to a broken file, which source it is."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(one_line(error)) from error
    except StopIteration:  # what datasets makes of an empty file
        raise UserError(f"{source.path} has no rows") from None
    except Exception as error:
        said = one_line(error.__cause__ or error)
        raise UserError(said if source.path in said else f"cannot read {source.path}: {said}") from error


def _stream(source, texts, compressor, folder, rows_per_shard, quiet):
    """The entries of all shards of rows that come one after the other."""
    entries, rows, start, finished = [], iter(texts), 0, folder.sizes()
    with _bar(quiet, None, 0) as bar:
        while some := _next_texts(rows, rows_per_shard, source):
            shard = Shard(len(entries), start, len(some))
            # Of a shard that is finished the rows are read and not compressed.
            entry = folder.entry(shard, finished)
            if entry is not None:
                _check_same(source, folder, entry, some)
            entries.append(entry or compressor.compress(shard, some))
            start += len(some)
            bar.update(len(some))
    _check_covers(source, folder, len(entries))
    return entries


def _check_same(source, folder, entry, texts):
    """Raises `UserError` where a finished shard is of other texts: those of its rows when it was made."""
    # The rows themselves: neither a revision of the Hub, which a README changes, nor the fingerprint that `datasets`
    # gives, which streams do not have, and its version changes, says whether they are others.
    if entry.get("sha256") != fingerprint_texts(texts):
        rows = f"rows {entry['start']} to {entry['start'] + entry['rows'] - 1}"
        raise UserError(_changed(source, folder, f"{rows} were others"))


def _check_covers(source, folder, shards):
    """Raises `UserError` where more shards are there than the data set has rows for."""
    before = folder.number_of_shards()
    if before > shards:
        raise UserError(_changed(source, folder, f"it had rows for {before} shards, not {shards}"))


def _changed(source, folder, how):
    return f"{source.path} has changed since {folder.address} was begun: {how}. Name another folder"


def _next_texts(rows, number, source):
    with _reading(source):
        return [row["text"] for row in islice(rows, number)]


def _bar(quiet, total, done):
    return tqdm(total=total, initial=done, desc="Compressing", unit=" rows", disable=True if quiet else None)


def _settings(source, model, options, rows_per_shard, limit):
    """What the latents of a row depend on; what means the same is written alike."""
    made_by, is_file = asdict(model.latent_provenance()), check_source(source.path)
    if is_file:
        with open(source.path, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        # Of a file not where it lies here: the settings go wherever the latents go.
        "source": os.path.basename(source.path) if is_file else source.path,
        "sha256": content if is_file else None,
        "config": None if is_file else source.config,
        "split": None if is_file else source.split,
        "column": source.column,
        "limit": limit,
        "rows_per_shard": rows_per_shard,
        "compress": {name: value for name, value in options.items() if name != "batch_size" and value is not None},
        "model": {name: made_by[name] for name in (*FINGERPRINT_FIELDS, "dtype")},
    }
