"""JSON Schema of messages as protobuf's JSON has them, with the limits of buf.validate that it can say."""

from __future__ import annotations

from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from topology.comments import comment_of, comments
from topology.envoy import Json

_TIMESTAMP: Json = {"type": "string", "format": "date-time"}
_WELL_KNOWN: dict[str, Json] = {"google.protobuf.Timestamp": _TIMESTAMP}
_F = FieldDescriptor
_WIDE = {_F.TYPE_INT64, _F.TYPE_UINT64, _F.TYPE_SINT64, _F.TYPE_FIXED64, _F.TYPE_SFIXED64}
_PLAIN: dict[int, Json] = {
    _F.TYPE_DOUBLE: {"type": "number"},
    _F.TYPE_FLOAT: {"type": "number"},
    _F.TYPE_BOOL: {"type": "boolean"},
    _F.TYPE_STRING: {"type": "string"},
    _F.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}
# Of buf.validate, as JSON Schema calls it.
_NUMBERS = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
_TEXTS = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
_LISTS = {"min_items": "minItems", "max_items": "maxItems"}


def json_name(field: FieldDescriptor) -> str:
    """As JSON calls it."""
    return str(field.json_name)


def schema_name(described: Descriptor | EnumDescriptor) -> str:
    """Among the components: "market.Listing"."""
    package, _, rest = described.full_name.removeprefix("satreel.").partition(".v1.")
    return f"{package}.{rest}"


class Schemas:
    """Gathers the schemas of the messages and enums that are spoken of."""

    def __init__(self) -> None:
        self.found: dict[str, Json] = {}

    def message(self, message: Descriptor, *, without: frozenset[str] = frozenset()) -> Json:
        """A reference to the message's schema; one without some of its fields stands for itself."""
        if message.full_name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[message.full_name])
        if without:
            return self._object(message, without)
        name = schema_name(message)
        if name not in self.found:
            self.found[name] = {}
            self.found[name] = self._object(message, without)
        return {"$ref": f"#/components/schemas/{name}"}

    def _object(self, message: Descriptor, without: frozenset[str]) -> Json:
        fields = [field for field in message.fields if field.name not in without]
        properties = {json_name(field): self._told(field) for field in fields}
        found: Json = {"type": "object", "properties": properties}
        if words := comment_of(message):
            found["description"] = words
        if required := [json_name(field) for field in fields if self.is_required(field)]:
            found["required"] = required
        return found

    def _told(self, field: FieldDescriptor) -> Json:
        """With what the contract says of it."""
        return {**self.field(field), "description": _words(field)}

    def field(self, field: FieldDescriptor) -> Json:
        """Its schema alone."""
        rules = _rules(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            value = field.message_type.fields_by_name["value"]
            return {"type": "object", "additionalProperties": self._one(value, None)}
        if field.is_repeated:
            inside = rules.repeated.items if rules is not None else None
            limits = _limits(rules.repeated, _LISTS) if rules is not None else {}
            return {"type": "array", "items": self._one(field, inside), **limits}
        return self._one(field, rules)

    def is_required(self, field: FieldDescriptor) -> bool:
        """Whether what is left out breaks a rule."""
        rules = _rules(field)
        if rules is None or field.containing_oneof is not None or (field.has_presence and not rules.required):
            return False
        if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE:
            return False
        text = rules.string
        needs = bool(text.pattern or text.min_len) if rules.HasField("string") else False
        numbers = rules.int64.gt if rules.HasField("int64") and rules.int64.HasField("gt") else -1
        return bool(rules.required or needs or numbers >= 0 or rules.repeated.min_items)

    def _one(self, field: FieldDescriptor, rules: validate_pb2.FieldRules | None) -> Json:
        if field.message_type is not None:
            return self.message(field.message_type)
        if field.enum_type is not None:
            return self._enum(field.enum_type)
        if field.type in _WIDE:
            return {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"}
        plain = dict(_PLAIN.get(field.type, {"type": "integer", "format": "int32"}))
        return plain if rules is None else {**plain, **_limits_of(field, rules)}

    def _enum(self, enum: EnumDescriptor) -> Json:
        name = schema_name(enum)
        values = [value.name for value in enum.values]
        about = {value: comments().get(f"{enum.full_name}.{value}", "") for value in values}
        said = [f"`{value}`: {words}" for value, words in about.items() if words]
        words = " ".join([comment_of(enum), *said]).strip()
        self.found[name] = {"type": "string", "enum": values, "description": words}
        return {"$ref": f"#/components/schemas/{name}"}


def _rules(field: FieldDescriptor) -> validate_pb2.FieldRules | None:
    options: Any = field.GetOptions()
    return options.Extensions[validate_pb2.field] if options.HasExtension(validate_pb2.field) else None


def _limits_of(field: FieldDescriptor, rules: validate_pb2.FieldRules) -> Json:
    if field.type == _F.TYPE_INT32:
        return _limits(rules.int32, _NUMBERS)
    if field.type != _F.TYPE_STRING:
        return {}
    found = _limits(rules.string, _TEXTS)
    if values := list(getattr(rules.string, "in")):
        found["enum"] = values
    if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE and "pattern" in found:
        found["pattern"] = f"^$|{found['pattern']}"
    return found


def _limits(rules: Any, names: dict[str, str]) -> Json:
    return {said: getattr(rules, name) for name, said in names.items() if rules.HasField(name)}


def _words(field: FieldDescriptor) -> str:
    """Limits of 64-bit numbers, which are texts here, in words."""
    words, rules = comment_of(field), _rules(field)
    if rules is None or not rules.HasField("int64"):
        return words
    signs = {"gt": "more than", "gte": "at least", "lt": "less than", "lte": "at most"}
    said = [f"{sign} {limit}" for sign, limit in _limits(rules.int64, signs).items()]
    return f"{words} ({', '.join(said)})" if said else words
