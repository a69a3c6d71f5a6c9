"""Jobs that wait for a lane: bounded, in turns between clients."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence

from model.errors import Overloaded
from model.torch_row import Row


class Ticket:
    """A submitted job (model.backend.Running): its rows, wherever they are."""

    def __init__(self, rows: Sequence[Row], wake: Callable[[], None]) -> None:
        self.rows = list(rows)
        self.job = rows[0].job
        self._wake = wake

    @property
    def gone(self) -> bool:
        return self.rows[0].gone

    def cancel(self) -> None:
        """Give it up; the engine notices between two steps."""
        for row in self.rows:
            row.gone = True
        self._wake()


class TurnQueue:
    """Tickets by client; the client that was served last is served last again. The caller holds the lock."""

    def __init__(self, most: int, most_of_one: int) -> None:
        """How many tickets may wait, of all clients together and of each."""
        self._most = most
        self._most_of_one = most_of_one
        self._clients: OrderedDict[str, deque[Ticket]] = OrderedDict()

    def __len__(self) -> int:
        return sum(len(line) for line in self._clients.values())

    def __iter__(self) -> Iterator[Ticket]:
        for line in self._clients.values():
            yield from line

    @property
    def waiting(self) -> int:
        """Tickets that were not cancelled."""
        return sum(not ticket.gone for ticket in self)

    def put(self, ticket: Ticket) -> None:
        """Raises Overloaded when there is no room; it is not queued then. Cancelled ones take none."""
        client = ticket.job.client
        if self.waiting >= self._most:
            raise Overloaded(f"{self._most} requests are waiting already", "ask again later", 2.0)
        if sum(not one.gone for one in self._clients.get(client, ())) >= self._most_of_one:
            raise Overloaded(
                f"{self._most_of_one} requests of this client are waiting already", "ask again later", 2.0
            )
        self._clients.setdefault(client, deque()).append(ticket)

    def take(self, may: Callable[[Ticket], bool]) -> Ticket | None:
        """The next ticket that may go, or None; those before it keep their places."""
        for client, line in self._clients.items():
            for ticket in line:
                if not may(ticket):
                    continue
                line.remove(ticket)
                self._clients.move_to_end(client)
                if not line:
                    del self._clients[client]
                return ticket
        return None
