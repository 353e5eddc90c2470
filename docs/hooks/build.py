"""What MkDocs does beyond copying pages: the README as the first page, tutorials from notebooks, the generated
reference, and links to files of the repository that are no pages, which become plain names."""

import posixpath

import reference
import tutorials
from links import BESIDE, ROOT, moved
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that no file under docs/ holds."""
    made = reference.pages() | tutorials.pages()
    made |= {page: moved((ROOT / name).read_text(encoding="utf-8"), "", page) for name, page in BESIDE.items()}
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links of a page under docs/ lead to pages."""
    path = page.file.src_uri
    return (
        markdown if page.file.generated_by else moved(markdown, posixpath.join("docs", posixpath.dirname(path)), path)
    )
