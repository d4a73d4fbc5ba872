"""Workers on a real Redis beside one process alone: `service` and `waiters` in processes, `scenes`, `figures`."""
