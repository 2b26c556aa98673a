"""A voice bot on Pipecat's Twilio serializer, unchanged, behind a trunk of kind "websocket".

A WebSocket server that takes one call. What comes goes through the serializer into frames, what is said comes as frames out
of it. It does what stdin says, a command a line, and tells on stdout what happens, a JSON object a line; nothing is decided
here.

  speak       say the file of --speech, all of it at once, as a speech service hands it over
  say         the same at the pace of speech
  interrupt   what Pipecat does when the caller talks over the bot
  mark NAME   has the other side say when all of this was played
  hangup      closes the socket and ends; what was heard is in the file of --heard, 16-bit samples at 16 kHz
"""

import argparse
import asyncio
import importlib.metadata
import json
import platform
import sys
import wave

import websockets
from loguru import logger
from pipecat.clocks.system_clock import SystemClock
from pipecat.frames.frames import (
    InputAudioRawFrame,
    InputDTMFFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
)
from pipecat.processors.frame_processor import FrameProcessorSetup
from pipecat.serializers.twilio import TwilioFrameSerializer
from pipecat.utils.asyncio.task_manager import TaskManager

# Pipecat's default for what a pipeline hears.
HEARD_RATE_HZ = 16_000
# Speech services hand over chunks of about this length.
CHUNK_MS = 40


def tell(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)


class Agent:
    def __init__(self, speech):
        with wave.open(speech, "rb") as file:
            self.rate_hz = file.getframerate()
            self.speech = file.readframes(file.getnframes())
        self.heard = bytearray()
        self.socket = None
        self.serializer = None
        self.over = asyncio.Event()

    async def serve(self, socket):
        """One call, from its upgrade to its end."""
        tell("upgraded", path=socket.request.path, headers=dict(socket.request.headers.raw_items()))
        self.socket = socket
        try:
            async for message in socket:
                await self.hear(message)
        except websockets.ConnectionClosedError:
            pass
        tell("closed", code=socket.close_code, reason=socket.close_reason)
        self.over.set()

    async def hear(self, message):
        event = json.loads(message)
        if event["event"] == "start":
            await self.start(event)
        elif event["event"] != "media":
            tell("event", event=event)
        if self.serializer is None:
            return
        frame = await self.serializer.deserialize(message)
        if isinstance(frame, InputAudioRawFrame):
            if not self.heard:
                tell("hearing")
            self.heard += frame.audio
        elif isinstance(frame, InputDTMFFrame):
            tell("digit", digit=frame.button.value)

    async def start(self, event):
        # As Pipecat's examples do for a bot without credentials at Twilio.
        self.serializer = TwilioFrameSerializer(
            stream_sid=event["start"]["streamSid"],
            call_sid=event["start"]["callSid"],
            params=TwilioFrameSerializer.InputParams(auto_hang_up=False),
        )
        await self.serializer.setup(
            FrameProcessorSetup(
                clock=SystemClock(),
                task_manager=TaskManager(),
                pipeline_worker=None,
                audio_in_sample_rate=HEARD_RATE_HZ,
            )
        )
        tell("started", event=event)

    async def send(self, frame):
        message = await self.serializer.serialize(frame)
        if message is not None:
            await self.socket.send(message)

    async def speak(self, paced):
        chunk = self.rate_hz * CHUNK_MS // 1000 * 2
        clock = asyncio.get_running_loop().time
        begin = clock()
        for number, at in enumerate(range(0, len(self.speech), chunk)):
            audio = self.speech[at : at + chunk]
            await self.send(OutputAudioRawFrame(audio=audio, sample_rate=self.rate_hz, num_channels=1))
            if paced:
                await asyncio.sleep(begin + (number + 1) * CHUNK_MS / 1000 - clock())

    async def obey(self, command):
        word, _, rest = command.partition(" ")
        if word in ("speak", "say"):
            await self.speak(paced=word == "say")
            tell("spoken")
        elif word == "interrupt":
            await self.send(InterruptionFrame())
            tell("interrupted")
        elif word == "mark":
            stream_sid = self.serializer._stream_sid
            mark = {"event": "mark", "streamSid": stream_sid, "mark": {"name": rest}}
            await self.send(OutputTransportMessageFrame(message=mark))
            tell("marked")
        elif word == "hangup":
            await self.socket.close()


async def main():
    parser = argparse.ArgumentParser()
    for name in ("--speech", "--heard"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    tell("version", pipecat=importlib.metadata.version("pipecat-ai"), python=platform.python_version())

    agent = Agent(options.speech)
    async with websockets.serve(agent.serve, "127.0.0.1", 0) as server:
        tell("listening", port=server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        stdin = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)

        async def obey():
            while line := await stdin.readline():
                await agent.obey(line.decode().strip())

        obeying = asyncio.create_task(obey())
        await agent.over.wait()
        obeying.cancel()
    with open(options.heard, "wb") as file:
        file.write(agent.heard)
    tell("ended", heard_bytes=len(agent.heard))


asyncio.run(main())
