"""Files as they come: archives, folders at URLs, tables, and uploads that go on where they broke off."""
