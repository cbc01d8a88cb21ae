"""Arithmetic of clearing houses' rule books on arrays: SPAN risk arrays and spreads, TIMS groups, the Prisma result tree."""
