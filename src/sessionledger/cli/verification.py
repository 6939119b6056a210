"""`verify`: the whole ledger, checked."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from sessionledger.cli import words
from sessionledger.cli.bars import bars
from sessionledger.cli.context import RETRY_SECONDS, Context
from sessionledger.domain.errors import SessionLedgerError
from sessionledger.domain.verification import VerificationReport

InContext = Annotated[Context, Parameter(parse=False)]


def verify(*, max_findings: int = 1000, context: InContext) -> None:
    """Check the whole ledger, every namespace, changing nothing; exit code 1 if anything is wrong.

    Args:
        max_findings: How many findings to print; all of them are counted.
        context: How the command was started.
    """
    import sessionledger

    with bars(context) as progress:
        task = progress.add_task("verifying", total=None)
        report = sessionledger.verify(
            context.url,
            max_findings=max_findings,
            follow=lambda done, total: progress.update(task, completed=done, total=total),
            retry_seconds=RETRY_SECONDS,
        )
    if context.json:
        context.print_json({**asdict(report), "ok": report.ok})
    else:
        _print(context, report)
    if not report.ok:
        raise UnsoundLedgerError(_verdict(report))


class UnsoundLedgerError(SessionLedgerError):
    """A verification found something; the text tells how much of what."""


def _print(context: Context, report: VerificationReport) -> None:
    if report.findings:
        context.print_rows((finding.rule, finding) for finding in report.findings)
    counted = [
        words.count(report.sessions, "session"),
        words.count(report.messages, "message"),
        words.count(report.usage_records, "record") + " of token usage",
    ]
    context.print(f"checked {', '.join(counted)}{': no findings' if report.ok else ''}")
    if report.not_hashed:
        context.print(
            f"not hashed, because an older release appended them: {words.count(report.not_hashed, 'message')}"
        )
    if report.of_deleted_sessions:
        context.print(f"of deleted sessions: {words.count(report.of_deleted_sessions, 'record')} of token usage")


def _verdict(report: VerificationReport) -> str:
    by_rule = ", ".join(f"{number:,} {rule}" for rule, number in sorted(report.found.items()))
    verdict = f"{words.count(sum(report.found.values()), 'finding')} ({by_rule})"
    return verdict if report.complete else f"{verdict}; not every row could be checked"
