"""The errors that a user can cause. Each message says what was wrong, what we got and what to do."""


class QuerysepError(Exception):
    """Anything that the user of the library can mend."""


class AudioError(QuerysepError):
    """A recording cannot be read, written or used."""


class QueryError(QuerysepError):
    """A query cannot be understood or turned into a condition."""


class WeightsError(QuerysepError):
    """A weights folder or checkpoint is missing, damaged or does not fit."""


class DataError(QuerysepError):
    """A data set, manifest or anchor catalog is missing, damaged or too small."""


class OutputError(QuerysepError):
    """A result cannot be written where the user asked for it."""


class ConfigError(QuerysepError):
    """A preset or a setting is unknown or has a wrong value."""


class DeviceError(QuerysepError):
    """The computing device asked for is not there."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM ended work after all of it was written; like KeyboardInterrupt, it is no mistake.

    Attributes:
        signal_number: of the signal.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number
