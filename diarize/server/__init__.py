"""The live server: one session a websocket, over the protocol of docs/protocol.md."""
