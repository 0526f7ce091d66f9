"""A shop: orders and invoices, whose jobs are written by the same transactions.

====== =============================================================================================
file   what is in it
====== =============================================================================================
models orders with their lines, and invoices; the jobs of an order
orders placing and paying an order, which enqueue what follows
jobs   the workers: invoice, mail, warehouse, and the nightly reminders
mail   what sends mail, one of the resources that jobs ask for
main   the runtime, for ``oban-sqla start examples.shop.main:oban``
pages  orders in a browser, with the jobs in the same process, for ``uvicorn examples.shop.pages:app``
tests  in a session that is rolled back: ``pytest examples/shop``
====== =============================================================================================
"""
