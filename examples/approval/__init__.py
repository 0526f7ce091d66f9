"""A purchase that a person approves in a browser: it waits for days, and each of its steps happens once.

======== =====================================================================================
file     what is in it
======== =====================================================================================
main     the application: order, look at a purchase, approve or refuse it
jobs     the purchase as one long job
models   the purchase, and the payments that were made
======== =====================================================================================

Run it with ``DATABASE_URL=postgresql://… uvicorn examples.approval.main:app``, after ``oban-sqla migrate``.
"""
