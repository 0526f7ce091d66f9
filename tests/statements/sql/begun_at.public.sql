SELECT timezone('UTC', now()) AS timezone_1
