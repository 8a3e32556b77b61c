"""Stream a recording to a live server as if it were being made now: `python examples/websocket_client.py meeting.mp3`.

The server: `diarize serve`, in another terminal.  Turns go to stderr as they come and are corrected, the final RTTM to
stdout.  `--speed 0` is as fast as it goes; `--url` and `--token` are for a server elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from diarize.client import Client, connect
from diarize.sources import open_source

RATE, STEP = 16_000, 1_600


async def show(client: Client) -> None:
    """Print each turn that is new, has grown or has another speaker."""
    async for message in client:
        for turn in message.get("changes", [message] if message["type"] == "segment" else []):
            speaker = (turn["to"] or "nobody") if "to" in turn else turn["speaker"]
            was = f", not {turn['from']}" if "from" in turn else ""
            print(f"{turn['start']:8.2f} - {turn['end']:8.2f} s  {speaker}{was}", file=sys.stderr)


async def stream(args: argparse.Namespace) -> None:
    source = open_source(args.file)  # any format and rate, as samples at 16 kHz
    async with connect(args.url, token=args.token, encoding="f32le", uri=source.uri) as client:
        showing = asyncio.create_task(show(client))
        for chunk in source.chunks():
            for at in range(0, len(chunk.samples), STEP):
                await client.send(chunk.samples[at : at + STEP])  # waits where the server has more to do than it can
                await asyncio.sleep(STEP / RATE / args.speed if args.speed else 0)
        result = await client.end()
        await showing
    print(result.rttm, end="")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--url", default="ws://127.0.0.1:8787/stream")
    parser.add_argument("--token")
    try:
        asyncio.run(stream(parser.parse_args()))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
