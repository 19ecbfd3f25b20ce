"""The queries behind the listings: filters, orders and keyset pages."""

from model_store.transactions.listings.datasets import datasets_listing
from model_store.transactions.listings.jobs import jobs_listing
from model_store.transactions.listings.models import models_listing
from model_store.transactions.listings.requests import Listing, ListRequest
from model_store.transactions.listings.versions import versions_listing

__all__ = ["ListRequest", "Listing", "datasets_listing", "jobs_listing", "models_listing", "versions_listing"]
