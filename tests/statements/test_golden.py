"""What the statements emit is what the files say: a reviewer sees in a diff what a change does to the SQL."""

from tests.statements.golden import FOLDER, golden


def test_each_statement_emits_the_sql_of_its_file() -> None:
    changed = [path.name for path, sql in golden() if not path.exists() or path.read_text() != sql]
    assert not changed, "look at the diff after: python -m tests.statements.golden"


def test_each_file_belongs_to_a_statement() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {path.name for path, _ in golden()}
