"""Commands on models, versions and aliases."""
