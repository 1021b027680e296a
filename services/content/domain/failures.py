"""What content answers when it refuses. Each reason stands in satreel.content.v1.ErrorReason."""

from __future__ import annotations

from mesh.errors import (
    Aborted,
    Code,
    FailedPrecondition,
    Failure,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)


class MemeNotFound(NotFound):
    """No meme has this id."""

    reason = "MEME_NOT_FOUND"


class CreatorNotFound(NotFound):
    """The creator does not exist."""

    reason = "CREATOR_NOT_FOUND"


class FileNotFound(NotFound):
    """The meme has no such file."""

    reason = "FILE_NOT_FOUND"


class FileForbidden(PermissionDenied):
    """The signed-in user may not see this file."""

    reason = "FILE_FORBIDDEN"


class RangeInvalid(Failure):
    """The range lies outside the file."""

    code = Code.OUT_OF_RANGE
    reason = "RANGE_INVALID"


class StateConflict(FailedPrecondition):
    """The meme is not in a state that allows this."""

    reason = "STATE_CONFLICT"


class Duplicate(Failure):
    """The same picture is known."""

    code = Code.ALREADY_EXISTS
    reason = "DUPLICATE"


class UploadOvertaken(Aborted):
    """Another upload of the same id is under way; ask again."""

    reason = "UPLOAD_OVERTAKEN"


class FileTooLarge(InvalidArgument):
    """The file is larger than 10 MB."""

    reason = "FILE_TOO_LARGE"


class UploadIncomplete(InvalidArgument):
    """The upload does not have its announced size."""

    reason = "UPLOAD_INCOMPLETE"


class FormatUnsupported(InvalidArgument):
    """Not a PNG, JPEG or GIF by its first bytes."""

    reason = "FORMAT_UNSUPPORTED"


class Undecodable(InvalidArgument):
    """The picture cannot be decoded whole."""

    reason = "UNDECODABLE"


class TooSmall(InvalidArgument):
    """The shorter side is below 1080 pixels."""

    reason = "TOO_SMALL"


class AspectUnsupported(InvalidArgument):
    """The aspect is not 16:9, 4:3 or 1:1 within 1 %."""

    reason = "ASPECT_UNSUPPORTED"


class TooManyPixels(InvalidArgument):
    """The picture unpacks to more pixels than allowed."""

    reason = "TOO_MANY_PIXELS"


class TooManyFrames(InvalidArgument):
    """The picture has more frames than allowed."""

    reason = "TOO_MANY_FRAMES"


# What the process that decodes pictures may find wrong with one.
PICTURE_REFUSALS: dict[str, type[Failure]] = {
    refusal.reason: refusal
    for refusal in (FormatUnsupported, Undecodable, TooSmall, AspectUnsupported, TooManyPixels, TooManyFrames)
}
