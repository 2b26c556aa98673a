"""aiortc as a caller of the gateway: one call over the browser dialect, told on stdout as one JSON object a line.

The test drives it by its arguments and judges the recording; nothing is decided here.
"""

import argparse
import asyncio
import collections
import fractions
import json
import platform
import ssl
import sys
import time

import aiortc
import av
import websockets
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRecorder
from aiortc.rtcrtpsender import RTCRtpSender

# CallEvent's event_type numbers.
ANSWER, HANGUP_COMPLETE, HOLD, RESUME = 2, 3, 4, 5
FRAME_MS = 20
# The last words travel so long at most.
TAIL_S = 0.8


def tell(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)


class Speaker(MediaStreamTrack):
    """A microphone: silence, and a WAV file when told to speak. A frame each 20 ms, handed out when it was spoken."""

    kind = "audio"
    RATE_HZ = 48_000

    def __init__(self):
        super().__init__()
        self.frames = collections.deque()
        self.silent = asyncio.Event()
        self.count = 0
        self.begin = None

    async def speak(self, file):
        samples = self.RATE_HZ * FRAME_MS // 1000
        resampler = av.AudioResampler(format="s16", layout="mono", rate=self.RATE_HZ, frame_size=samples)
        frames = []
        with av.open(file) as container:
            for frame in container.decode(audio=0):
                frames += resampler.resample(frame)
        frames += resampler.resample(None)
        self.silent.clear()
        self.frames.extend(frame for frame in frames if frame.samples == samples)
        await self.silent.wait()

    async def recv(self):
        if self.begin is None:
            self.begin = time.monotonic()
        self.count += 1
        wait_s = self.begin + self.count * FRAME_MS / 1000 - time.monotonic()
        await asyncio.sleep(max(0, wait_s))
        if self.frames:
            frame = self.frames.popleft()
        else:
            self.silent.set()
            frame = av.AudioFrame(format="s16", layout="mono", samples=self.RATE_HZ * FRAME_MS // 1000)
            frame.planes[0].update(bytes(frame.planes[0].buffer_size))
        frame.sample_rate = self.RATE_HZ
        frame.pts = self.count * frame.samples
        frame.time_base = fractions.Fraction(1, self.RATE_HZ)
        return frame


class Caller:
    def __init__(self, arguments):
        self.arguments = arguments
        self.speaker = Speaker()
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.answers = asyncio.Queue()
        self.events = asyncio.Queue()
        self.ended = asyncio.Event()

    async def run(self):
        context = ssl.create_default_context(cafile=self.arguments.ca)
        address = f"{self.arguments.url}/signal/browser/{self.arguments.tenant}"
        protocols = ["clutchcall.v1", f"bearer.{self.arguments.token}"]
        async with websockets.connect(address, subprotocols=protocols, ssl=context) as self.socket:
            reader = asyncio.create_task(self.read())
            await self.call()
            await asyncio.wait_for(self.ended.wait(), 20)
            await self.socket.wait_closed()
            tell("closed", code=self.socket.close_code)
            reader.cancel()
        await self.connection.close()

    async def read(self):
        async for text in self.socket:
            message = json.loads(text)
            tell("message", message=message)
            if message["type"] == "answer":
                self.answers.put_nowait(message["sdp"])
            elif message["type"] == "event":
                self.events.put_nowait(message["event_type"])
            elif message["type"] in ("bye", "error"):
                self.ended.set()

    async def call(self):
        recorder = MediaRecorder(self.arguments.record)
        self.connection.on("track", recorder.addTrack)
        self.connection.addTrack(self.speaker)
        transceiver = self.connection.getTransceivers()[0]
        wanted = f"audio/{self.arguments.codec}".lower()
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() == wanted])
        await self.negotiate()
        await recorder.start()
        await self.send(type="dial", to="test", trunk_id=self.arguments.trunk)
        await self.wait_for(ANSWER)
        await self.speaker.speak(self.arguments.speech)
        await asyncio.sleep(TAIL_S)
        if self.arguments.speech_after_hold:
            transceiver.direction = "inactive"
            await self.negotiate()
            await self.wait_for(HOLD)
            await asyncio.sleep(1)
            transceiver.direction = "sendrecv"
            await self.negotiate()
            await self.wait_for(RESUME)
            await self.speaker.speak(self.arguments.speech_after_hold)
            await asyncio.sleep(TAIL_S)
        tell("spoken")
        if not self.arguments.far_end_hangs_up:
            await self.send(type="hangup")
        await self.wait_for(HANGUP_COMPLETE)
        await recorder.stop()
        stats = await self.connection.getStats()
        for report in stats.values():
            if report.type == "inbound-rtp":
                tell("inbound", packets=report.packetsReceived, lost=report.packetsLost)

    async def negotiate(self):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        await self.send(type="offer", sdp=self.connection.localDescription.sdp)
        answer = await asyncio.wait_for(self.answers.get(), 10)
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def wait_for(self, event_type):
        while await asyncio.wait_for(self.events.get(), 30) != event_type:
            pass

    async def send(self, **message):
        await self.socket.send(json.dumps(message))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("url", "token", "tenant", "trunk", "codec", "speech", "record", "ca"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--speech-after-hold", help="hold and resume by offers with another direction, then say this")
    parser.add_argument("--far-end-hangs-up", action="store_true", help="wait for it after the speech")
    av.logging.set_level(av.logging.ERROR)
    tell("version", aiortc=aiortc.__version__, python=platform.python_version())
    try:
        asyncio.run(Caller(parser.parse_args()).run())
    except Exception as error:  # The test shows what went wrong, whatever it was.
        tell("failed", error=repr(error))
        sys.exit(1)


main()
