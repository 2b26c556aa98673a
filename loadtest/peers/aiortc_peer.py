"""aiortc as a caller of the gateway: one call over the browser dialect, told on stdout as one JSON object a line.

The test drives it by its arguments and judges the recording; nothing is decided here.
"""

import argparse
import asyncio
import json
import ssl
import sys

import av
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer, MediaRecorder
from aiortc.rtcrtpsender import RTCRtpSender


def tell(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)


class Caller:
    def __init__(self, arguments):
        self.arguments = arguments
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
        player = MediaPlayer(self.arguments.speech)
        recorder = MediaRecorder(self.arguments.record)
        self.connection.on("track", recorder.addTrack)
        self.connection.addTrack(player.audio)
        transceiver = self.connection.getTransceivers()[0]
        wanted = f"audio/{self.arguments.codec}".lower()
        codecs = RTCRtpSender.getCapabilities("audio").codecs
        transceiver.setCodecPreferences([codec for codec in codecs if codec.mimeType.lower() == wanted])
        await self.negotiate()
        await recorder.start()
        await self.send(type="dial", to="test", trunk_id=self.arguments.trunk)
        await self.wait_for(2)
        await asyncio.sleep(self.arguments.talk_s)
        if self.arguments.hold:
            transceiver.direction = "inactive"
            await self.negotiate()
            await self.wait_for(4)
            await asyncio.sleep(1)
            transceiver.direction = "sendrecv"
            await self.negotiate()
            await self.wait_for(5)
        if not self.arguments.far_end_hangs_up:
            await self.send(type="hangup")
        await self.wait_for(3)
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
    parser.add_argument("--talk-s", type=float, default=10)
    parser.add_argument("--hold", action="store_true", help="hold and resume by offers with another direction")
    parser.add_argument("--far-end-hangs-up", action="store_true")
    av.logging.set_level(av.logging.ERROR)
    try:
        asyncio.run(Caller(parser.parse_args()).run())
    except Exception as error:  # The test shows what went wrong, whatever it was.
        tell("failed", error=repr(error))
        sys.exit(1)


main()
