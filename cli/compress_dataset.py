"""`c3 compress-dataset`: the texts of a data set to a folder of latents."""

from c3.quoting_c3 import printable
from c3.support.arguments import file_name, utf8_text, whole_number
from c3.support.errors import needing, pip_install
from c3.support.loading import quiet_libraries

from .model_options import add_amount_options, add_model_options, amount

SUMMARY = "the texts of a data set to a folder of latents, shard by shard"


def add_arguments(parser):
    parser.add_argument("source", type=utf8_text, metavar="DATA", help="a .parquet, .jsonl or .txt file, or a Hub id")
    about = "folder to make or to go on with, or an address of fsspec such as s3://bucket/folder"
    parser.add_argument("output", type=file_name, metavar="OUTPUT", help=about)
    parser.add_argument("--config", help="of a data set of the Hub")
    parser.add_argument("--split", default="train", help="of a data set of the Hub (default: train)")
    parser.add_argument("--column", default="text", help="that holds the texts (default: text)")
    parser.add_argument("--streaming", action="store_true", help="read while compressing, not all of it before")
    parser.add_argument("--limit", type=whole_number(1), metavar="N", help="the first N rows")
    about = "rows of a file of latents (default: 256)"
    parser.add_argument("--rows-per-shard", type=whole_number(1), default=256, metavar="N", help=about)
    about = f"in so many processes of Ray, each with the model ({pip_install('ray')})"
    parser.add_argument("--ray", type=whole_number(1), metavar="WORKERS", help=about)
    about = "of a running cluster, such as auto (default: one on this machine)"
    parser.add_argument("--ray-address", type=utf8_text, metavar="ADDRESS", help=about)
    add_model_options(parser)
    add_amount_options(parser)
    about = "keep corrections too, so that every text comes back exactly; takes twice as long"
    parser.add_argument("--exact", action="store_true", help=about)
    dtypes = ("bfloat16", "float16", "float32")
    parser.add_argument("--latents-dtype", choices=dtypes, help="precision of the latents (default: bfloat16)")


def run(args):
    """Prints what was written."""
    with needing("train"):
        import datasets  # noqa: F401  before it is told to be quiet

        from c3.bulk.compress_dataset import compress_dataset
        from c3.training.data.documents import DataSource

    source = DataSource(args.source, args.column, args.split, args.config, streaming=args.streaming)
    options = amount(args) | {"exact": args.exact, "dtype": args.latents_dtype, "batch_size": args.batch_size}
    with quiet_libraries(args.debug):
        index = compress_dataset(
            source,
            args.output,
            {"name": args.model, "device": args.device, "dtype": args.dtype},
            options,
            rows_per_shard=args.rows_per_shard,
            limit=args.limit,
            ray_workers=args.ray,
            cluster=args.ray_address,
            quiet=args.quiet,
        )
    said = f"{args.output}: {index['rows']} rows in {len(index['shards'])} shards, {index['text_tokens']} tokens"
    print(printable(f"{said} in {index['latents']} latents, {index['bytes'] / 1e6:.1f} MB"))
    if index["skipped"]:
        row, why = next(iter(index["skipped"].items()))
        print(printable(f"left out: {len(index['skipped'])} rows, the first of them {row}: {why}"))
