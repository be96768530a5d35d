"""Accuracies under attack: the ledger of every attempt, its plan, and what gives reason for doubt."""
