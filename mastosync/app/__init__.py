"""Puts together what a command needs: one function for each command, which gets a `Context` first.

| commands | module |
|---|---|
| `plan` | `plan.py` |
| `copy`, `retry-failed`, `refetch`, `apply-settings` | `copy.py` |
| `follow`, `prune` | `follow.py` |
| `verify`, `adopt`, `orphans` | `verify.py` |
| `accept`, `manifest` | `manifest.py` |
| `status` | `status.py` |
| `report` | `report.py` |
| `cutover` | `cutover.py` |
| `doctor` | `doctor.py` |
| `init`, `pin-secrets` | `files.py` |

See docs/architecture.md.
"""
