"""Connections of the server: how they are set up."""

import asyncio
import socket

import pytest

from cvm_notebook.local.faults.connection import listen


async def _accepted_nodelay(listener):
    accepted = asyncio.get_running_loop().create_future()

    def serve(_reader, writer):
        connection = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    async with await asyncio.start_server(serve, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        try:
            return await asyncio.wait_for(accepted, 5)
        finally:
            writer.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_small_answers_never_wait_for_an_acknowledgement(host):
    try:
        listener = listen(host, 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    assert asyncio.run(_accepted_nodelay(listener)) != 0
