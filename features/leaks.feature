Feature: Nothing leaks
  No message text, no metadata, no title, no key and no password in an error, in its `repr`, its traceback, its pickled
  form, in a log record or in the `repr` of a value. Every kind is provoked for real, with every logger turned on.

  Scenario: Errors that a database brings about
    When every kind of error that a database brings about is provoked
    Then each is one of ours
    And there are at least 25 of them, and none tells anything

  Scenario: Errors that sessionledger finds by itself
    When every kind of error that sessionledger finds by itself is provoked
    Then each is one of ours
    And there are at least 25 of them, and none tells anything

  Scenario: Wrong values
    When every parameter of every call is given values that are wrong
    Then there are at least 100 of them, and none tells anything

  Scenario: Commands that fail
    When every kind of command that fails is run
    Then each is one of ours
    And there are at least 10 of them, and none tells anything

  Scenario: Without our translation the drivers tell (control)
    When kinds of error that a database brings about are provoked with the translation switched off
    Then at least 10 of them tell what they must not (control)

  @needs.server
  Scenario: To hide parameters is not enough (control)
    Given a session
    When the same is done with SQLAlchemy alone, told to hide parameters
    Then at least 10 of its errors quote the message in their text (control)
