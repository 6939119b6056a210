"""Pages of Markdown and HTML, read back by parsers that know nothing of the writers.

What the writer does not write is an AssertionError: an element, an attribute, a heading, a link, raw HTML.
"""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from markdown_it import MarkdownIt

from sessionledger.domain.formats.view import visible

PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABc3UBGAAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img"}
ALLOWED = {
    "html": {"lang"}, "head": set(), "meta": {"charset", "http-equiv", "name", "content"}, "title": set(),
    "style": set(), "body": set(), "header": set(), "main": set(), "h1": {"dir"}, "h2": set(), "dl": set(),
    "dt": set(), "dd": set(), "div": {"class"}, "bdi": set(), "b": set(), "a": {"href"}, "small": {"class"},
    "time": {"datetime"}, "p": {"dir", "class"}, "article": {"class", "id"}, "details": {"class"}, "summary": set(),
    "span": {"dir"}, "pre": {"dir"}, "code": set(), "strong": set(), "img": {"src", "alt"},
}  # fmt: skip


@dataclass
class Element:
    tag: str
    attributes: dict
    children: list = field(default_factory=list)

    def all(self, tag):
        for child in self.children:
            if isinstance(child, Element):
                if child.tag == tag:
                    yield child
                yield from child.all(tag)

    @property
    def text(self):
        return "".join(child if isinstance(child, str) else child.text for child in self.children)


class Page(HTMLParser):
    """A page as a tree; anything that the writer does not write is an AssertionError."""

    def __init__(self, html):
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]
        self.feed(html)
        self.close()
        assert len(self.open) == 1, "an element is not closed"
        assert [each.tag for each in self.root.children if isinstance(each, Element)] == ["html"]
        self.html = self.root.children[-2]

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert tag in ALLOWED, f"the element {tag} is not the writer's"
        assert set(names) <= ALLOWED[tag], names
        assert len(set(names)) == len(names), names
        attributes = dict(attrs)
        assert re.fullmatch(r"#message-\d+", attributes.get("href", "#message-1"))
        assert attributes.get("src", PICTURE).startswith("data:image/png;base64,")
        element = Element(tag, attributes)
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop().tag == tag

    def handle_data(self, data):
        self.open[-1].children.append(data)

    def handle_comment(self, data):
        raise AssertionError(f"a comment is not the writer's: {data}")

    handle_pi = unknown_decl = handle_comment

    def handle_decl(self, decl):
        assert decl == "DOCTYPE html"


def html_articles(text):
    """What each message says, without what stands in its header."""
    (main,) = Page(text).html.all("main")
    return [
        "".join(child if isinstance(child, str) else child.text for child in article.children if child is not head)
        for article in main.children
        if isinstance(article, Element) and article.tag == "article"
        for head in [next(article.all("header"))]
    ]


MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
BLOCKS = {"heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "fence"}
FACTS = {"bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"}
INLINE = {"text", "hardbreak", "code_inline", "strong_open", "strong_close", "em_open", "em_close"}


def markdown_sections(text):
    """What each message says; anything that the writer does not write is an AssertionError."""
    tokens = MARKDOWN.parse(text)
    heads = [at for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert [tokens[at].tag for at in heads] == ["h1"] + ["h2"] * (len(heads) - 1)
    second = heads[1] if heads[1:] else len(tokens)
    for at, token in enumerate(tokens):
        assert token.type in BLOCKS | (FACTS if at < second else set()), f"{token.type} is not the writer's"
        for child in token.children or ():
            assert child.type in INLINE, f"{child.type} is not the writer's"
    assert sum(token.type == "bullet_list_open" for token in tokens) == 1
    ends = [*heads[2:], len(tokens)]
    return ["\n".join(map(markdown_text, tokens[at + 3 : end])) for at, end in zip(heads[1:], ends, strict=False)]


def markdown_text(token):
    if token.type == "fence":
        return f"{token.info}\n{token.content}"
    return "".join("\n" if child.type == "hardbreak" else child.content for child in token.children or ())


READERS = {"html": html_articles, "markdown": markdown_sections}


def squeezed(text):
    """A text without what may look different: white space, and the marks of emphasis and of code."""
    return re.sub(r"[\s*`~]+", "", visible(text))
