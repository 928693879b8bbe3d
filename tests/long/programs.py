"""Generates Terraform programs for fuzzing: one seed, one program, with every construct of the language in odd places.

Most of what it writes is a program to Terraform; some of it is wrong on purpose (duplicate arguments, two items on one
line), because a verifier must know those too.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

COMMENT = "# by PiCloud"
TAGGED = ("aws_vpc", "aws_s3_bucket", "aws_instance", "aws_subnet", "aws_lambda_function")
UNTAGGED = ("aws_s3_bucket_policy", "aws_autoscaling_group_tag", "random_id", "null_resource", "x_y", "é_type")
IDENTIFIERS = (
    "a",
    "main",
    "web-1",
    "_x",
    "größe",
    "名前",
    "for_each",
    "for",
    "null",
    "true",
    "in",
    "if",
    "tags",
    "tag",
)
ARGUMENTS = ("cidr_block", "name", "count", "for_each", "provider", "tags_all", "ami", "größe", "depends_on", "bucket")
KEYS = ("created_by", '"created_by"', "(created_by)", '("created_by")', "Name", '"a.b/c"', "(var.k)", "team", "1", "é")
KEY_EXPRESSIONS = ('"${var.k}-x"', "var.k", 'lower("K")', "true", "null", '"created\\u005fby"', "(1 + 1)", "-1")
TEXTS = (
    *(
        "",
        "x",
        "PiCloud",
        "10.0.0.0/16",
        " ",
        "é 名前 🦀",
        "a\u0301",
        "\\n",
        '\\"',
        "\\\\",
        "\\u00e9",
        "\\U0001F980",
        "$${x}",
    ),
    *(
        "%%{x}",
        "$",
        "%",
        "$$",
        "%%",
        "$$$",
        "#",
        "//",
        "/*",
        "*/",
        "{",
        "}",
        "<<EOT",
        "'",
        "`",
        "\t",
        "\u00a0",
        "\u2028",
    ),
)
COMMENTS = (
    "# c",
    "// c",
    "/* c */",
    "/* c\n c */",
    "#",
    "//",
    "/**/",
    "/***/",
    "# é 名前",
    "#{",
    '# "',
    "/* # */",
    "# \\",
)
OWN_COMMENTS = (
    COMMENT,
    COMMENT,
    "#by PiCloud",
    "// by PiCloud",
    "/* by PiCloud */",
    "# by PiCloud ",
    "# by",
    "# BY PICLOUD",
)
OPERATORS = ("+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||")
FUNCTIONS = ("merge", "lower", "file", "concat", "provider::aws::x", "jsonencode", "sensitive", "tomap")
NUMBERS = ("0", "1", "42", "1.5", "1e3", "1E+3", "2.5e-3", "0123", "99999999999999999999999999", "1e999999")
SETTINGS = ("terraform", "provider", "backend", "locals", "check")
MARKERS = ("EOT", "E", "EOT", "EOF_1", "名", "end-x", "EOT", "EOT", "A" * 128, "Ł" * 65, "\u037a", "E\u309b")
DEPTH = 3


class Writer:
    """Writes one program. Equal seeds write equal programs."""

    def __init__(self, random: Random, *, sane: bool = False) -> None:
        """`sane` leaves out what no author writes: comments between tokens, odd line ends, mistakes on purpose."""
        self._random = random
        self._sane = sane
        self._indent = random.choice(("  ", "  ", "  ", "\t", "", "    "))

    def program(self) -> str:
        """Return the text of a program."""
        many = self._random.choice((0, 1, 1, 2, 2, 3, 4))
        text = "".join(self._above() + self._top() + self._end() for _ in range(many)) + self._rest()
        if self._one_in(4):
            text = text.replace("\r\n", "\n").replace("\n", "\r\n")
        return "\ufeff" + text if self._one_in(12) else text

    def expression(self, depth: int = DEPTH) -> str:
        """Return an expression."""
        if depth <= 0 or self._one_in(3):
            return self._scalar()
        return self._random.choice(_EXPRESSIONS)(self, depth - 1)

    def _one_in(self, many: int) -> bool:
        return self._random.randrange(many) == 0

    def _pick(self, words: tuple[str, ...]) -> str:
        return self._random.choice(words)

    def _some(self, write: Callable[[], str], most: int = 3) -> list[str]:
        return [write() for _ in range(self._random.randint(0, most))]

    def _gap(self) -> str:
        if self._sane or not self._one_in(25):
            return " "
        return self._pick(("", "  ", "\t", "/* c */", " /* c\nc */ "))

    def _end(self) -> str:
        if self._one_in(12):
            return f" {self._pick(('# c', '// c', '/* c */', COMMENT))}\n"
        return " " if not self._sane and self._one_in(60) else "\n"

    def _rest(self) -> str:
        return self._pick(("", "", "\n", "# end", "// end", "/* end */", "\n\n\t", "#"))

    def _above(self) -> str:
        lines = ""
        while self._one_in(2):
            lines += self._pick(OWN_COMMENTS if self._one_in(2) else COMMENTS)
            lines += " " if lines.endswith("*/") and self._one_in(4) else "\n"
            lines += self._pick(("", "", "", "\n", "  ", "\t"))
        return lines

    def _top(self) -> str:
        match self._random.randrange(12):
            case 0:
                return f'variable "{self._pick(IDENTIFIERS)}"{self._gap()}{self._body(1)}'
            case 1:
                return f'data "aws_ami" "{self._pick(IDENTIFIERS)}"{self._gap()}{self._body(1)}'
            case 2:
                return f"{self._pick(SETTINGS)}{self._label()} {self._body(2)}"
            case 3:
                return f'{self._pick(("module", "output", "ephemeral"))} "m" {self._body(1)}'
            case 4:
                return f"{self._pick(IDENTIFIERS)}{self._gap()}={self._gap()}{self.expression()}"
            case _:
                return self._resource()

    def _label(self) -> str:
        return "" if self._one_in(2) else self._pick((' "aws"', " aws", ' "a" b', ' "\\u0061"', ' "é"', ' ""'))

    def _resource(self) -> str:
        kind = self._pick(
            ("aws_autoscaling_group",) if self._one_in(5) else TAGGED if self._one_in(2) else UNTAGGED + TAGGED
        )
        name = self._pick(IDENTIFIERS)
        kind, name = (kind if self._one_in(8) else f'"{kind}"'), (name if self._one_in(8) else f'"{name}"')
        head = f"resource{self._gap()}{kind} {name}{self._gap()}"
        if self._one_in(10):
            return f"{head}{{{self._pick(('', ' ', self._tags(), f' {self._tags()} '))}}}"
        items = self._some(lambda: self._item(2))
        tags = self._tag_block if "autoscaling" in kind else self._tags
        items += [] if self._one_in(4) else [self._item_end(tags()) for _ in range(3 if self._one_in(9) else 1)]
        self._random.shuffle(items)
        return f"{head}{{{self._opened()}{''.join(items)}{self._closed()}}}"

    def _opened(self) -> str:
        return "" if not self._sane and self._one_in(40) else self._end()

    def _closed(self) -> str:
        return self._pick(("", "", "", "\n", "  ", "# last\n", "  /* last */\n", "/* last */ "))

    def _body(self, depth: int) -> str:
        if self._one_in(5):
            return self._pick(
                ("{}", "{ }", "{\n}", f"{{ a = {self.expression(1)} }}", f"{{ {self._argument(1)} }}", "{ # c\n}")
            )
        return f"{{{self._opened()}{''.join(self._some(lambda: self._item(depth)))}{self._closed()}}}"

    def _item(self, depth: int) -> str:
        if depth > 0 and self._one_in(4):
            name = self._pick(("nested", "dynamic", "lifecycle", "content", "tag", "required_providers", *IDENTIFIERS))
            return self._item_end(f"{name}{self._label()}{self._gap()}{self._body(depth - 1)}")
        return self._item_end(self._argument(depth))

    def _item_end(self, text: str) -> str:
        above = f"{self._indent}{self._pick(COMMENTS)}\n" if self._one_in(12) else ""
        return f"{above}{self._indent}{text}{self._end()}"

    def _argument(self, depth: int) -> str:
        name = self._pick(ARGUMENTS + IDENTIFIERS) if self._one_in(3) else f"a{self._random.randrange(1000)}"
        return f"{name}{self._gap()}={self._gap()}{self.expression(depth)}"

    def _tags(self) -> str:
        return f"tags{self._gap()}={self._gap()}{self._random.choice(_TAGS)(self)}"

    def _tag_block(self) -> str:
        key, value = (
            self._scalar() if self._one_in(3) else '"created_by"',
            self._pick(('"PiCloud"', '"x"', "var.v", "null")),
        )
        if self._one_in(6):
            return self._pick(("tag {\n}", 'tag { key = "created_by" }', 'dynamic "tag" {\n}', self._tags(), "tag {}"))
        pair = f"  key = {key}\n  value = {value}{self._end()}"
        return f"tag {{{self._end()}{pair}  propagate_at_launch = true\n{self._indent}}}"

    def _merged(self) -> str:
        arguments = [*self._some(lambda: self.expression(1), 2), self._pick(("", self._object(1), self._tag_object()))]
        end = self._pick(("", "", ",", "...", " # c\n"))
        return f"merge({self._comma().join(a for a in arguments if a)}{end})"

    def _tag_object(self) -> str:
        return self._braced(self._some(lambda: f"{self._key()} {self._pick(('=', '=', ':'))} {self._tag_value()}", 4))

    def _tag_value(self) -> str:
        return self._pick(('"PiCloud"', '"x"')) if self._one_in(2) else self.expression(1)

    def _key(self) -> str:
        return self._pick(KEY_EXPRESSIONS if self._one_in(8) else KEYS)

    def _comma(self) -> str:
        return self._pick((", ", ",", ",\n", " ,\n", ", # c\n", ", /* c */ "))

    def _object(self, depth: int) -> str:
        return self._braced(self._some(lambda: f"{self._key()} {self._pick(('=', ':'))} {self.expression(depth)}"))

    def _braced(self, elements: list[str]) -> str:
        if not elements:
            return self._pick(("{}", "{ }", "{\n}", "{ # c\n}", "{\n  # c\n}", "{ /* c */ }", "{\n\n}"))
        separator = self._pick((", ", "\n", "\n\n", ",\n", " # c\n", ", # c\n", " /* c */,", "\n# c\n", ",\n\n"))
        if not self._sane and self._one_in(40):
            separator = self._pick((" ", ",,", "\n,", "\n,\n"))
        start, end = (
            self._pick((" ", "", "\n", "\n  ", " # c\n")),
            self._pick((" ", "", "\n", ",\n", ", ", " # c\n", "\n  ")),
        )
        return f"{{{start}{separator.join(elements)}{end}}}"

    def _list(self, depth: int) -> str:
        elements = self._comma().join(self._some(lambda: self.expression(depth)))
        end = self._pick(("", "", ",", "\n", " # c\n")) if elements else ""
        return f"[{self._pick(('', ' ', chr(10)))}{elements}{end}]"

    def _scalar(self) -> str:
        match self._random.randrange(9):
            case 0:
                return self._pick(("true", "false", "null", *NUMBERS))
            case 1:
                return self._pick(("-1", "- 1", "-1.5", "!true", "--1", "-var.x", "!!a"))
            case 2:
                return self._reference()
            case 3 if not self._one_in(3):
                return self._heredoc()
            case _:
                return self._string()

    def _reference(self) -> str:
        root = self._pick(
            ("var.a", "local.b", "aws_vpc.main", "each.value", "data.aws_ami.x", "x", "self", "path.module")
        )
        return root + self._pick(
            ("", "", ".id", "[0]", '["k"]', ".*.id", "[*].id", ".0", ".0.1", "[var.i]", "[*]", ".*", "[ 0 ].a")
        )

    def _string(self) -> str:
        return f'"{self._pick(TEXTS)}{self._interpolated(1) if self._one_in(3) else ""}{self._pick(TEXTS)}"'

    def _interpolated(self, depth: int) -> str:
        value = self.expression(depth - 1) if "\n" not in self._pick(("", "\n")) else self._reference()
        match self._random.randrange(5):
            case 0:
                return f"%{{ if {value} }}x%{{ else }}y%{{ endif }}"
            case 1:
                return f"%{{for k{self._pick(('', ', v'))} in {value} ~}} ${{k}} %{{~ endfor}}"
            case 2:
                return f"${{~ {value} ~}}"
            case _:
                return f"${{{value}}}"

    def _heredoc(self) -> str:
        marker, flush = self._pick(MARKERS), self._pick(("<<", "<<-"))
        lines = "".join(f"{text}\n" for text in self._some(lambda: self._heredoc_line(marker), 4))
        # What follows the end marker's line belongs to whoever wrote the expression: only its newline ends it.
        return f"{flush}{marker}\n{lines}{self._pick(('', '', '  ', chr(9)))}{marker}" + (
            "" if self._one_in(2) else "\n"
        )

    def _heredoc_line(self, marker: str) -> str:
        text = self._pick(("", " ", "    ")) + self._pick((*TEXTS, marker, f"{marker} ", marker + "x", f'"{marker}"'))
        return text + (self._interpolated(1) if self._one_in(3) else "")

    def _for(self, depth: int) -> str:
        names, value, test = self._pick(("k", "k, v", "k,v")), self.expression(depth), self._pick(("", " if k != null"))
        if self._one_in(2):
            return f"[for {names} in {value} : {self.expression(depth)}{test}]"
        return f"{{for {names} in {value} : {self._pair(depth)}{test}}}"

    def _pair(self, depth: int) -> str:
        return f"{self.expression(depth)} => {self.expression(depth)}{self._pick(('', '...'))}"

    def _operation(self, depth: int) -> str:
        return f"{self.expression(depth)}{self._gap()}{self._pick(OPERATORS)}{self._gap()}{self.expression(depth)}"

    def _conditional(self, depth: int) -> str:
        return f"{self.expression(depth)} ? {self.expression(depth)} : {self.expression(depth)}"

    def _wrapped(self, depth: int) -> str:
        inside = self._pick(("", "", "\n", " /* c */ ", " # c\n"))
        return f"({inside}{self.expression(depth)}{inside})"

    def _call(self, depth: int) -> str:
        return f"{self._pick(FUNCTIONS)}({self._comma().join(self._some(lambda: self.expression(depth)))})"

    def _indexed(self, depth: int) -> str:
        return f"{self._wrapped(depth)}{self._pick(('[0]', '.a', '[*].b', '.*.c', '[1][2]'))}"

    def _templated(self, depth: int) -> str:
        return f'"{self._pick(TEXTS)}{self._interpolated(depth)}{self._interpolated(depth)}"'


_EXPRESSIONS = (
    *(Writer._list, Writer._object, Writer._object, Writer._for, Writer._operation, Writer._conditional),
    *(Writer._wrapped, Writer._call, Writer._indexed, Writer._templated),
)
_TAGS: tuple[Callable[[Writer], str], ...] = (
    *(Writer._tag_object, Writer._tag_object, Writer._tag_object, Writer._merged, Writer._merged),
    *(lambda w: "null", lambda w: "{}", lambda w: "var.tags", lambda w: "(null)", lambda w: f"({w._tag_object()})"),
    *(lambda w: f"({w._pick(('', chr(10)))}{w._merged()}{w._pick(('', chr(10)))})", Writer.expression),
)
