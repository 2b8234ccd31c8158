"""The three ways out of a stage that are not a result, and the one-line errors for users."""

from collections.abc import Sequence

from schemas.row import Reason


class UserError(Exception):
    """A mistake the user can mend. The message is one line and says what to do; the command line prints only that."""


class NotReady(UserError):
    """A server that a run needs does not answer as it begins: somebody has to start it, and then the run can."""


class Reject(Exception):
    """This clip ends here, for a reason that would be the same next time. Becomes a rejected row."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


class InfrastructureError(Exception):
    """The world around the clip failed (server down, out of memory, disk full): the clip stays pending."""


class StopRun(InfrastructureError):
    """Nothing that follows could end otherwise (a refused key, a server that stays down): the whole run stops now.

    The message is one line and says what to do. All clips without a row stay pending.
    """


def gravest(errors: Sequence[BaseException]) -> BaseException:
    """Of several that ended a batch, the one to raise: what stops the run, else the first."""
    return next((error for error in errors if isinstance(error, StopRun)), errors[0])
