"""Leader leases with fencing tokens: many copies run, exactly one acts."""
