"""The review as people and tools read it: the document, its forms, what becomes of the gates, and source places."""
