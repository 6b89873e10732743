"""One policy: who asks (principal, tokens), who may (policy), and what each enforcement point is told (compilers)."""
